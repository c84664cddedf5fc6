"""`xaibench bench influence`: how the time of influence grows with images, pixels, taus and resamples, and what memory it takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from xaibench import markdown as md
from xaibench.cli.bench_tables import publish
from xaibench.cli.compose import composed
from xaibench.cli.request import Request

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = """examples:
  xaibench bench influence                                    MNIST: training and test images, up to 60,000
  xaibench bench influence --dataset digits --model linear --images 300,600,1200 --pixels 16,32,64"""

USUAL = {"images": 10_000, "pixels": 784, "taus": 2, "resamples": 0}
SIZES = {"images": "2500,5000,10000,20000,40000,60000", "pixels": "98,196,392,784", "taus": "2,5,11,21,41", "resamples": "50,100,200"}

NOTE = """Seconds of one analysis (the mean probability of each class for every pixel and tau), the least of the turns, as one size
grows and the others stay: {usual}. Growth: how many times the seconds of the row before, over how many times its size; 1 is linear.
Memory: the peak beyond images and predictions."""

Sizes = dict[str, int]


def main(argv: list[str]) -> int:
    """Measure, print and write the table."""
    options = parsed(argv)
    import torch

    torch.set_num_threads(options.threads)
    console = Console(width=None if Console().is_terminal else 160)
    pixels, probabilities = predictions(options)
    usual = {"images": min(USUAL["images"], len(pixels)), "pixels": pixels.shape[1], "taus": USUAL["taus"], "resamples": USUAL["resamples"]}
    wanted = [(axis, usual | {axis: size}) for axis in SIZES for size in map(int, getattr(options, axis).split(","))]
    rows = []
    for axis, sizes in track(wanted, "influence", console=console, disable=not console.is_terminal):
        rows.append({"axis": axis} | sizes | measured(analysis(pixels, probabilities, sizes), options.turns))
        if not console.is_terminal:
            console.print(f"{axis} {sizes[axis]}: {rows[-1]['seconds']:.3g} s", highlight=False)
    table = grown(pd.DataFrame(rows))
    publish(table, markdown(table, usual, options.threads), options.out / "influence", console)
    return 0


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "xaibench bench influence", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="overrides of `xaibench run`, such as runtime.store=FOLDER")
    parser.add_argument("--dataset", default="mnist", help="default: mnist")
    parser.add_argument("--model", default="conv32_conv64_dense128", help="who predicts (default: conv32_conv64_dense128)")
    for axis, sizes in SIZES.items():
        parser.add_argument(f"--{axis}", default=sizes, help=f"default: {sizes}")
    parser.add_argument("--turns", type=int, default=3, help="the least of so many counts (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--out", type=Path, default=Path("results/bench/influence"), help="default: results/bench/influence")
    return parser.parse_intermixed_args(argv)


def predictions(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """(N, P), 8 bits, the test and the training images, and (N, K), float64, what the network gives for them."""
    import torch

    from xaibench.problem import Training
    from xaibench.stages import Runtime, Stages, arrays_of

    request = Request([f"dataset={options.dataset}", f"model={options.model}", *options.overrides])
    grid, settings = composed(request)
    ((dataset, model, trainer, seed),) = grid.classifiers()
    training = Training(dataset.component, model.component, trainer.component, seed)
    network = Stages(settings.store, Runtime(device="cpu", threads=options.threads)).network(training)
    arrays = arrays_of(training.dataset)
    images = torch.cat([arrays.test.images, arrays.train.images])
    with torch.inference_mode():
        logits = torch.cat([network(part) for part in images.split(256)])
    pixels = (images.mean(1).flatten(1) * 255).round().to(torch.uint8)
    return pixels.numpy(), logits.to(torch.float64).softmax(1).numpy()


def analysis(pixels: np.ndarray, probabilities: np.ndarray, sizes: Sizes) -> Callable[[], Any]:
    """The reweighting of so many images by so many pixels, evenly spread, at so many taus."""
    import numpy as np

    from xaibench.influence.reweighting import reweighted

    spread = np.linspace(0, pixels.shape[1] - 1, sizes["pixels"]).round().astype(int)
    some, given = np.ascontiguousarray(pixels[: sizes["images"], spread]), probabilities[: sizes["images"]]
    taus = tuple(np.linspace(-1, 1, sizes["taus"]).tolist())
    return lambda: reweighted(some, given, taus, resamples=sizes["resamples"])


def measured(call: Callable[[], Any], turns: int) -> dict[str, float]:
    """Least seconds of the turns, and the first one's peak memory in MiB beyond what was in use."""
    import torch

    from xaibench.bench import counted

    found = [counted(call, torch.device("cpu")) for _ in range(turns)]
    return {"seconds": min(cost.seconds for cost, _ in found), "memory": found[0][1] / 2**20}


def grown(table: pd.DataFrame) -> pd.DataFrame:
    """With `growth`, see `NOTE`."""

    def of(part: pd.DataFrame) -> Iterator[float]:
        yield float("nan")
        times, sizes = part["seconds"].to_numpy(), part[part["axis"].iloc[0]].to_numpy()
        yield from (times[1:] / times[:-1]) / (sizes[1:] / sizes[:-1])

    return table.assign(growth=[value for _, part in table.groupby("axis", sort=False) for value in of(part)])


def markdown(table: pd.DataFrame, usual: Sizes, threads: int) -> str:
    """The table, with what it means."""
    import torch

    from xaibench.environment import environment

    known = environment(torch.device("cpu"))
    lines = [NOTE.format(usual=", ".join(f"{size:,} {axis}" for axis, size in usual.items())), ""]
    rows = []
    for row in table.to_dict("records"):
        growth = "" if pd.isna(row["growth"]) else f"{row['growth']:.2f}"
        rows.append([row["axis"], f"{row[str(row['axis'])]:,}", f"{row['seconds']:.3g}", growth, f"{row['memory']:,.0f}"])
    lines += md.table(["growing", "size", "seconds", "growth", "memory, MiB"], rows)
    return "\n".join([*lines, "", f"{known['hardware']}; {threads} threads; commit {str(known['commit'])[:12]}.", ""])
