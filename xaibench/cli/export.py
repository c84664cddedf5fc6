"""`xaibench export`: the explanations of a study, from the store, as numpy files and pictures."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from xaibench.cli.compose import composed
from xaibench.cli.request import Request
from xaibench.component import UserError
from xaibench.planning import cells

if TYPE_CHECKING:
    import numpy as np

    from xaibench.grid import Cell
    from xaibench.store import Artifact
    from xaibench.tables.longtable import Results

EXAMPLES = """examples:
  xaibench export quickstart --out maps           maps/digits/conv16_conv32_gap/seed_0/grad_cam/maps.npz, ...
  xaibench export quickstart explainer=grad_cam,lime seed=0 --out maps --png

Each maps.npz holds index (B), the positions in the test set; targets (B, T), the explained classes; labels (B) and predicted (B), the
true and the predicted class; and values (B, T, C, H, W), the signed attributions, where C is 1 if channels are explained together. Of
counterfactuals it holds images (B, T, C, H, W) and found (B, T) instead. --png draws every map: red speaks for the class, blue against
it, white is 0, and each picture has a scale of its own; index.csv tells what each file shows. OVERRIDES are those of `xaibench run`, to
take a part of the study. Nothing is computed: `xaibench run experiment=STUDY` does that."""

COLUMNS = ("file", "dataset", "model", "seed", "explainer", "index", "target", "label", "predicted")


def main(argv: list[str]) -> int:
    """Write the files."""
    parser = argparse.ArgumentParser(
        "xaibench export", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="name of a file in experiments/")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDES", help="of `xaibench run`: what to take, and runtime.store=FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write into")
    parser.add_argument("--png", action="store_true", help="draw a picture of every map, too")
    parser.add_argument("--config-dir", help="further configuration, as for `xaibench run`")
    options = parser.parse_intermixed_args(argv)
    places = ["--config-dir", options.config_dir] if options.config_dir else []
    request = Request([f"experiment={options.study}", *options.overrides, *places])
    from xaibench.tables.longtable import Results

    grid, settings = composed(request)
    results, console = Results(grid, settings.store), Console()
    chosen = list({cell.explaining: cell for cell in cells(grid)}.values())
    written, pictures = 0, []
    for cell in track(chosen, "export", console=console, disable=not console.is_terminal):
        found = _read(results, cell)
        if found is not None:
            folder = _folder(results, cell)
            pictures += _write(results, cell, found, options.out, folder, options.png)
            written += 1
    if not written:
        raise UserError(
            f"study={options.study}: expected explanations in {settings.store.root}; compute them: xaibench run experiment={options.study}"
        )
    if options.png:
        with (options.out / "index.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *pictures])
    absent = f"; {len(chosen) - written} are not in {settings.store.root}" if written < len(chosen) else ""
    console.print(f"{written} explanations and {len(pictures)} pictures in {options.out}{absent}", highlight=False, soft_wrap=True)
    return 0


def _read(results: Results, cell: Cell) -> Artifact | None:
    """The explanation, if it and its classifier are there."""
    from xaibench.execution import complete

    return results.store.read("explain", cell.explaining.key) if complete(cell.explaining, results.store) else None


def _folder(results: Results, cell: Cell) -> Path:
    """Where an explanation's files go, below the chosen folder: trainer and draw are named where they vary."""
    from xaibench.pictures import file_name

    facts, grid = results.facts(cell), results.grid
    trainer = [facts["trainer"]] if len(grid.trainers) > 1 else []
    draw = [f"draw_{cell.draw}"] if len(grid.draws) > 1 else []
    return Path(*map(file_name, [facts["dataset"], facts["model"], *trainer, f"seed_{cell.seed}", facts["explainer"], *draw]))


def _write(results: Results, cell: Cell, found: Artifact, out: Path, folder: Path, png: bool) -> list[tuple[Any, ...]]:
    """Write an explanation's files; what `index.csv` tells of its pictures."""
    import matplotlib.image
    import numpy as np

    tensors = {name: tensor.numpy() for name, tensor in found.tensors.items()}
    index, targets = tensors["index"], tensors["targets"]
    labels, predicted = (part[index] for part in results.prediction(cell.training)[:2])
    kinds = {name: content for name, content in tensors.items() if name in ("values", "images", "found")}
    (out / folder).mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / folder / "maps.npz", index=index, targets=targets, labels=labels, predicted=predicted, **kinds)
    facts, told = results.facts(cell), []
    about = (facts["dataset"], facts["model"], cell.seed, facts["explainer"])
    for row, column in np.ndindex(*targets.shape) if png else ():
        name = folder / f"{index[row]}_{targets[row, column]}.png"
        matplotlib.image.imsave(out / name, _picture(kinds, row, column))
        told.append((name.as_posix(), *about, index[row], targets[row, column], labels[row], predicted[row]))
    return told


def _picture(kinds: dict[str, np.ndarray], row: int, column: int) -> np.ndarray:
    """A map in diverging colors, or a counterfactual as it is (gray: none found), as bytes."""
    from xaibench.figures import tiles

    if "values" in kinds:
        return tiles.colored(kinds["values"][row, column].astype("float64").sum(axis=0))[0]
    return tiles.counterfactual(kinds["images"][row, column], bool(kinds["found"][row, column]))
