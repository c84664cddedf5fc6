"""`xaibench report`: a study as one HTML page, from the data in its folder alone."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from rich.console import Console

from xaibench.component import ConfigurationError
from xaibench.configuration import conf_folder
from xaibench.publish import PROVENANCE
from xaibench.report.page import write

EXAMPLES = """examples:
  xaibench report quickstart                          writes results/quickstart/report.html
  xaibench report quickstart --out /tmp/page.html     elsewhere
  xaibench report my_study --results /data/results    of another folder"""


def main(argv: list[str]) -> int:
    """Write a study's report, and say where it is."""
    parser = argparse.ArgumentParser(
        "xaibench report", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="name of a folder in results/")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the studies' folders are (default: results)")
    parser.add_argument("--out", type=Path, help="the page to write (default: report.html in the study's folder)")
    arguments = parser.parse_args(argv)
    folder = arguments.results / arguments.study
    if not (folder / PROVENANCE).is_file():
        found = sorted(path.parent.name for path in arguments.results.glob(f"*/{PROVENANCE}"))
        raise ConfigurationError(
            f"study={arguments.study}: expected a study's folder in {arguments.results}; there is {', '.join(found) or 'none'}"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    path = write(folder, conf_folder(), arguments.out)
    Console().print(f"report in {path} ({path.stat().st_size / 1e6:.1f} MB)", highlight=False, soft_wrap=True)
    return 0
