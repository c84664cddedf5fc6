"""`xaibench influence`: what pixels, or other columns, do to predictions that are in a file; no classifier is needed."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from xaibench import influence_maps, influence_pixels
from xaibench.component import ConfigurationError
from xaibench.influence.analysis import Influence
from xaibench.influence.targets import QuantileTargets, RangeTargets, Targets

EXAMPLES = """examples:
  xaibench influence predictions.npz                          tables and figures in results/predictions/
  xaibench influence predictions.npz --targets range --tail 0.1 --resamples 0

predictions.npz holds `images` (N, H, W), (N, C, H, W) or (N, columns), numbers of any type; `probabilities` (N, K), each row with a sum
of 1; `labels` (N,), whole numbers from 0; and, if the classes have names, `classes` (K,)."""

NEEDED = ("images", "probabilities", "labels")


def main(argv: list[str]) -> int:
    """Analyze a file of predictions, and write and print the table."""
    parser = argparse.ArgumentParser(
        "xaibench influence", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="an .npz file")
    parser.add_argument("--targets", choices=("quantile", "range"), default="quantile", help="where the means go (default: quantile)")
    parser.add_argument("--tail", type=float, default=0.05, help="5 %% and 95 %% quantile, or so far inside the range (default: 0.05)")
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstrap; 0: no intervals (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap, 0 or more (default: 0)")
    parser.add_argument("--out", type=Path, help="the folder to write (default: results/FILE)")
    chosen = parser.parse_args(argv)
    if chosen.seed < 0:
        parser.error(f"--seed {chosen.seed}: expected an integer >= 0")
    images, probabilities, labels, classes = read(chosen.file)
    targets: Targets = QuantileTargets(tail=chosen.tail) if chosen.targets == "quantile" else RangeTargets(margin=chosen.tail)
    influence, console = Influence(targets=targets, resamples=chosen.resamples), Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("influence", total=1.0)
        try:
            tensors = influence(images, probabilities, labels, classes, chosen.seed, lambda share: bar.update(task, completed=share))
        except ValueError as error:
            raise ConfigurationError(f"{chosen.file}: {error}") from error
    folder = chosen.out or Path("results") / chosen.file.stem
    folder.mkdir(parents=True, exist_ok=True)
    maps, pixels = influence_maps.alone(tensors, chosen.file.stem, classes, folder), folder / influence_pixels.FILE
    influence_maps.draw(maps)
    influence_pixels.alone(influence, (images, probabilities, labels), classes, maps, pixels)
    if pixels.exists():
        influence_pixels.draw(pixels)
    console.print((folder / "influence.md").read_text(), markup=False, highlight=False, soft_wrap=True)
    console.print(f"results in {folder}", highlight=False)
    return 0


def read(file: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """Images (N, C, H, W), probabilities, labels and the names of the classes.

    Raises
    ------
    ConfigurationError
        If the file is not there or no .npz, or lacks an array; with its name.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{file}: expected an .npz file with {', '.join(NEEDED)} ({error})") from error
    absent = [name for name in NEEDED if name not in arrays]
    if absent:
        raise ConfigurationError(f"{file}: expected arrays {', '.join(NEEDED)}; there is no {', '.join(absent)}")
    images, probabilities = arrays["images"], arrays["probabilities"]
    if images.ndim not in (2, 3, 4) or probabilities.ndim != 2:
        raise ConfigurationError(f"{file}: images of shape {images.shape}, probabilities of shape {probabilities.shape}: see --help")
    shaped = images.reshape(len(images), 1, *((1, -1) if images.ndim == 2 else images.shape[-2:])) if images.ndim < 4 else images
    names = tuple(map(str, arrays["classes"])) if "classes" in arrays else tuple(map(str, range(probabilities.shape[1])))
    if len(names) != probabilities.shape[1]:
        raise ConfigurationError(f"{file}: {len(names)} classes and {probabilities.shape[1]} columns of probabilities: expected as many")
    return torch.from_numpy(shaped), torch.from_numpy(probabilities), torch.from_numpy(arrays["labels"]), names
