"""`xaibench table`: tables of one study or of all, in the layout and format that is asked for.

Without more than the study's name, its tables and figures are written again from the data in its folder.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from xaibench.component import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

    from xaibench.tables.blocks import Block

EXAMPLES = """examples:
  xaibench table quickstart                       tables and figures of results/quickstart/, and the table here
  xaibench table quickstart --score tied          another score of the same metrics
  xaibench table quickstart --no-figures
  xaibench table quickstart --columns metric,score --filter metric=deletion
  xaibench table quickstart --filter family=gradient,control metric=deletion,insertion --cost
  xaibench table mnist_and_fashion_shapley --rows dataset,explainer --format tex --out table.tex
  xaibench table all --rows explainer --columns dataset --filter metric=deletion --format md

Rows and columns are one or some (with commas) of dataset, model, explainer, metric, score, family, metric_family. What is neither makes
tables of its own. The best mean of the explainers that are not controls is bold; arrows point to better scores. Where the study has
pairwise tests (comparison.parquet), a dagger marks scores that do not differ significantly from the best. Several studies: what has the
same name but other fields gets labels of its own; a metric in two versions, or a cell with two numbers, is refused."""

FORMATS = ("terminal", "csv", "md", "tex", "html")
SUFFIXES = {".csv": "csv", ".md": "md", ".tex": "tex", ".html": "html", ".txt": "terminal"}
SPLIT = re.compile(r",\s*(?![^\[]*\])")
"""Commas, but for those between the fields of a label."""


def main(argv: list[str]) -> int:
    """Write and print the tables of a study, or of all."""
    options = _parsed(argv)
    found = sorted(path.parent for path in options.results.glob("*/provenance.json"))
    folder = options.results / options.study
    if options.study != "all" and folder not in found:
        known = ", ".join(path.name for path in found) or "none"
        raise ConfigurationError(f"study={options.study}: expected all, or a study's folder in {options.results}; there is {known}")
    usual = not (options.rows or options.columns or options.filter or options.format or options.out or options.cost)
    drawn = _draw(folder, options.no_figures) if options.study != "all" and usual else None
    if options.study != "all" and usual and not (folder / "scores.parquet").is_file():
        _console().print((folder / "classifiers.md").read_text(), markup=False, highlight=False)
        return 0
    _show(options, found if options.study == "all" else [folder], drawn)
    return 0


def _parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "xaibench table", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="name of a folder in results/, or all")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the studies' folders are (default: results)")
    parser.add_argument("--rows", help="what stands in the rows (default: explainer)")
    parser.add_argument("--columns", help="what stands in the columns (default: metric)")
    parser.add_argument(
        "--filter", nargs="+", action="extend", default=[], metavar="NAME=VALUES", help="show only these; values with commas"
    )
    parser.add_argument("--score", default="value", help="the score to show (default: value, each metric's headline)")
    parser.add_argument("--format", choices=FORMATS, help="default: the one of --out, else terminal")
    parser.add_argument("--out", type=Path, help="write the tables into this file")
    parser.add_argument("--cost", action="store_true", help="passes and seconds of explaining one image beside each explainer")
    parser.add_argument("--no-figures", action="store_true", help="write the study's tables, not its figures")
    return parser.parse_intermixed_args(argv)


def _draw(folder: Path, without: bool) -> pd.DataFrame | None:
    from xaibench.cli.compose import FIGURES
    from xaibench.publish import draw, drawn

    return draw(folder, () if without else drawn(folder, FIGURES))


def _console() -> Console:
    return Console(width=None if Console().is_terminal else 160)


def _show(options: argparse.Namespace, folders: Sequence[Path], drawn: pd.DataFrame | None) -> None:
    """Print the tables, or write them into a file; of one study's own, if it was drawn just now."""
    from xaibench.studies import SCORES, Study, gathered, kept
    from xaibench.tables import formats
    from xaibench.tables.aggregate import aggregate
    from xaibench.tables.layout import Extras, Layout, blocks

    studies = [Study(folder) for folder in folders if (folder / SCORES).is_file()]
    if not studies:
        raise ConfigurationError(f"study={options.study}: expected scores ({SCORES}) in {options.results}")
    if options.out and not options.format and options.out.suffix not in SUFFIXES:
        raise ConfigurationError(f"--out {options.out}: expected a name that ends with {', '.join(SUFFIXES)}, or --format")
    wanted = _filter(options.filter)
    rows, columns = tuple((options.rows or "explainer").split(",")), tuple((options.columns or "metric").split(","))
    chosen = options.format or SUFFIXES.get(options.out.suffix if options.out else ".txt", "terminal")
    layout = Layout(rows, columns, options.score, None if chosen == "csv" else Layout.width)
    if drawn is None:
        long, extras = gathered(studies, wanted, options.cost)
        drawn = aggregate(long)
    else:
        extras = Extras(studies[0].comparison())
    made = blocks(drawn[kept(drawn, wanted)], layout, extras)
    if chosen == "terminal" and not options.out:
        _console().print(formats.terminal(made))
        return
    text = {"terminal": _plain, "csv": formats.csv, "md": formats.markdown, "tex": formats.latex, "html": formats.web}[chosen](made)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8", newline="\n")
        print(f"written to {options.out}")
    else:
        print(text, end="")


def _plain(made: Sequence[Block]) -> str:
    """What the terminal shows, without colors."""
    from xaibench.tables.formats import terminal

    console = Console(file=io.StringIO(), width=160)
    with console.capture() as captured:
        console.print(terminal(made))
    return captured.get()


def _filter(given: Sequence[str]) -> dict[str, list[str]]:
    pairs = [text.partition("=") for text in given]
    wrong = [name for name, _, values in pairs if not values]
    if wrong:
        raise ConfigurationError(f"filter={wrong[0]}: expected NAME=VALUE, such as metric=deletion")
    return {name: SPLIT.split(values) for name, _, values in pairs}
