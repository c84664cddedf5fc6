"""`xaibench table`: a study's tables and figures again, from the data in its folder."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from rich.console import Console

from xaibench.component import ConfigurationError
from xaibench.publish import SCORES, draw
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
    if not (folder / SCORES).is_file():
        found = sorted(path.parent.name for path in arguments.results.glob(f"*/{SCORES}"))
        raise ConfigurationError(
            f"study={arguments.study}: expected a folder of {arguments.results} with {SCORES}; there is {', '.join(found) or 'none'}"
        )
    drawn = () if arguments.no_figures else ("curves", "maps", "all_classes", "learning_curves", "confusion_matrix")
    draw(folder, drawn)
    aggregated = aggregate(pd.read_parquet(folder / SCORES))
    scores = sorted(aggregated["score"].unique())
    if arguments.score not in scores:
        raise ConfigurationError(f"score={arguments.score}: expected one of {', '.join(scores)}")
    Console(width=None if Console().is_terminal else 160).print(to_rich(aggregated, arguments.score))
    return 0
