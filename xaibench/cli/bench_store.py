"""`xaibench bench store`: how long listing, planning, reading and verifying take as a store grows."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console

from xaibench import markdown as md
from xaibench.cli.bench_tables import publish
from xaibench.cli.compose import composed
from xaibench.cli.request import Request

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.grid import Cell, Grid
    from xaibench.store import Store

EXAMPLES = """examples:
  xaibench bench store                    1, 8 and 63 seeds: 1,600 to 100,000 cells, in a temporary folder
  xaibench bench store --seeds 1,3"""

NOTE = """Seconds with files in memory. Cells are those of all explainers and metrics on digits and a linear network, as many as it has for
each seed, with made-up scores of {images} images: real keys, specs, checksums and payloads. Files: reading every file and nothing else,
the least that whatever reads a store takes. List and verify: `xaibench store`. Plan: `xaibench plan`, once the grid is composed, in a new
process. Read: the scores and explanations with their checksums, to be published, by the process that planned. Tables: from these the long
table, costs, quality of maps, curves."""

IMAGES, STEPS = 20, 15


def main(argv: list[str]) -> int:
    """Measure, print and write the table."""
    options = parsed(argv)
    console = Console(width=None if Console().is_terminal else 160)
    rows, spawn = [], multiprocessing.get_context("spawn")
    fresh = ProcessPoolExecutor(1, spawn, max_tasks_per_child=1)  # each task in a process that has no key yet
    with tempfile.TemporaryDirectory(dir=options.place) as folder, fresh:
        for seeds in map(int, options.seeds.split(",")):
            task = options.overrides, seeds, Path(folder) / "store", options.threads
            written = fresh.submit(filled, *task).result()
            rows.append({"seeds": seeds} | fresh.submit(used, *task).result() | {"write": written})
            console.print(", ".join(f"{name} {value:,.3g}" for name, value in rows[-1].items()), highlight=False)
    table = pd.DataFrame(rows)
    publish(table, markdown(table, options.threads), options.out / "store", console)
    return 0


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "xaibench bench store", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="overrides of `xaibench run` for the grid, such as metric=deletion,insertion")
    parser.add_argument("--seeds", default="1,8,63", help="numbers of seeds, growing (default: 1,8,63)")
    parser.add_argument("--place", type=Path, help="where the store is made for the time (default: the system's temporary folder)")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--out", type=Path, default=Path("results/bench/store"), help="default: results/bench/store")
    return parser.parse_intermixed_args(argv)


def grid_of(overrides: list[str], seeds: int) -> Grid:
    """The grid with so many seeds."""
    usual = ["dataset=digits", "model=linear", "explainer=glob(*)", "metric=glob(*)", f"explain_on.count={IMAGES}"]
    return composed(Request([*usual, f"seed={','.join(map(str, range(seeds)))}", *overrides]))[0]


def filled(overrides: list[str], seeds: int, root: Path, threads: int) -> float:
    """The seconds that it takes to write the results of a grid of so many seeds that are not there yet."""
    import torch

    from xaibench.store import Store

    torch.set_num_threads(threads)
    grid = grid_of(overrides, seeds)
    return seconds(lambda: fill(grid, Store(root)))


def used(overrides: list[str], seeds: int, root: Path, threads: int) -> dict[str, float]:
    """The results of a grid of so many seeds, and the seconds that each use of them takes."""
    import torch

    from xaibench import archive
    from xaibench.planning import plan
    from xaibench.store import Store
    from xaibench.tables.longtable import Results

    torch.set_num_threads(threads)
    grid, store = grid_of(overrides, seeds), Store(root)
    results, found = Results(grid, store), archive.results(store)
    calls: dict[str, Callable[[], Any]] = {
        "files": lambda: [file.read_bytes() for stage, key in found for file in store.folder(stage, key).iterdir()],
        "list": lambda: [store.size(stage, key) for stage, key in archive.results(store)],
        "plan": lambda: plan(grid, store),
        "read": results.read,
        "tables": lambda: (results.scores(), results.costs(), results.quality(), results.curves()),
        "verify": lambda: [store.damage(stage, key) for stage, key in found],
    }
    spent = {name: seconds(call) for name, call in calls.items()}
    return {"cells": len(results.found), "results": len(found), "rows": len(results.scores())} | spent


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fill(grid: Grid, store: Store) -> None:
    """Write what the store does not have of the cells that can be, with made-up content."""
    import torch

    from xaibench.environment import environment
    from xaibench.identity import evaluate_key, explain_key, predict_key, train_key
    from xaibench.planning import plan
    from xaibench.store import Artifact

    spent = {"seconds": 0.1, "peak_bytes": 2**20, "forward": 100, "backward": 0}
    provenance, done = spent | environment(torch.device("cpu")), None
    for cell in (item.cell for item in plan(grid, store) if item.status == "to do"):
        found = [("evaluate", evaluate_key(cell.explaining, cell.metric.component, explained=cell.explaining.key))]
        if cell.explaining is not done:
            training, done = cell.training, cell.explaining
            found += [("train", train_key(training)), ("predict", predict_key(training)), ("explain", explain_key(done))]
        for stage, (key, spec) in found:
            if not store.has(stage, key):
                store.write(stage, key, spec, Artifact(made_up(stage, cell), provenance))


def made_up(stage: str, cell: Cell) -> dict[str, Tensor]:
    """A payload of the right names and shapes."""
    import torch

    index, targets = torch.arange(IMAGES), torch.zeros(IMAGES, 1, dtype=torch.int64)
    curve = {"curves.probability": torch.rand(IMAGES, 1, STEPS), "fractions": torch.linspace(0, 1, STEPS)}
    content = {
        "train": {"weights.1.weight": torch.rand(10, 64), "history.epoch": torch.arange(5.0)},
        "predict": {"logits": torch.rand(540, 10), "labels": torch.zeros(540, dtype=torch.int64)},
        "explain": {"values": torch.rand(IMAGES, 1, 1, 8, 8), "flag": torch.zeros(IMAGES, 1, dtype=torch.uint8), "index": index},
        "evaluate": {"values.value": torch.rand(IMAGES, 1), "index": index, "targets": targets}
        | (curve if hasattr(cell.metric.component, "steps") else {}),
    }
    return content[stage]


def markdown(table: pd.DataFrame, threads: int) -> str:
    """The table, with what it means."""
    import torch

    from xaibench.environment import environment

    known = environment(torch.device("cpu"))
    rows = ([f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" for value in row.values()] for row in table.to_dict("records"))
    lines = [NOTE.format(images=IMAGES), "", *md.table(list(table), rows, "r")]
    return "\n".join([*lines, "", f"{known['hardware']}; {threads} thread; commit {str(known['commit'])[:12]}.", ""])
