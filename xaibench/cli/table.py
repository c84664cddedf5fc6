"""`xaibench table`: a study's tables and figures again, from the data in its folder."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from rich.console import Console

from xaibench.cli.compose import FIGURES
from xaibench.component import ConfigurationError
from xaibench.publish import PROVENANCE, SCORES, draw
from xaibench.tables import aggregate, to_rich

EXAMPLES = """examples:
  xaibench table quickstart                       tables and figures of results/quickstart/, and the table here
  xaibench table quickstart --score tied          another score of the same metrics
  xaibench table quickstart --no-figures"""


def main(argv: list[str]) -> int:
    """Write and print a study's tables."""
    parser = argparse.ArgumentParser(
        "xaibench table", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="name of a folder in results/")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the studies' folders are (default: results)")
    parser.add_argument("--score", default="value", help="the score to print (default: value, each metric's headline)")
    parser.add_argument("--no-figures", action="store_true", help="only the tables")
    arguments = parser.parse_args(argv)
    folder = arguments.results / arguments.study
    if not (folder / PROVENANCE).is_file():
        found = sorted(path.parent.name for path in arguments.results.glob(f"*/{PROVENANCE}"))
        raise ConfigurationError(
            f"study={arguments.study}: expected a study's folder in {arguments.results}; there is {', '.join(found) or 'none'}"
        )
    draw(folder, () if arguments.no_figures else FIGURES)
    console = Console(width=None if Console().is_terminal else 160)
    if (folder / SCORES).is_file():
        aggregated = aggregate(pd.read_parquet(folder / SCORES))
        scores = sorted(aggregated["score"].unique())
        if arguments.score not in scores:
            raise ConfigurationError(f"score={arguments.score}: expected one of {', '.join(scores)}")
        console.print(to_rich(aggregated, arguments.score))
        if arguments.score != "value":
            console.print(f"score: {arguments.score}")
    else:
        console.print((folder / "classifiers.md").read_text(), markup=False, highlight=False)
    return 0
