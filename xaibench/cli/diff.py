"""`xaibench diff`: which numbers of a study moved beyond their intervals, appeared or vanished, and which versions differ.

The exit status is 1 if something moved or vanished.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from xaibench.component import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = """examples:
  xaibench diff quickstart@HEAD quickstart        what is committed, and what lies in results/quickstart
  xaibench diff quickstart@v1.0 quickstart@HEAD   two commits
  xaibench diff results/quickstart /tmp/again/quickstart --format md

A and B are studies in results/, folders, or STUDY@COMMIT. Compared are the rows of table.csv, claims.csv and classifiers.csv: a number
moved if its 95 % intervals in A and B do not overlap, of errors against an axiom beyond rounding (2e-6)."""

FILES = ("table.csv", "claims.csv", "classifiers.csv", "provenance.json")
LONGEST = 50


def main(argv: list[str]) -> int:
    """Compare two results; 1 if a number moved or vanished."""
    parser = argparse.ArgumentParser(
        "xaibench diff", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", metavar="A")
    parser.add_argument("after", metavar="B")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the studies' folders are (default: results)")
    parser.add_argument("--format", choices=("terminal", "csv", "md"), default="terminal", help="csv has every number")
    parser.add_argument("--all", action="store_true", help="show every number, not only those that moved, appeared or vanished")
    options = parser.parse_args(argv)
    from xaibench.differences import differences, held, versions

    with tempfile.TemporaryDirectory() as scratch:
        folders = [_folder(name, options.results, Path(scratch) / side) for name, side in ((options.before, "a"), (options.after, "b"))]
        found, others = differences(*folders), versions(*folders)
    if options.format == "csv":
        print(found.to_csv(index=False, float_format="%.10g", lineterminator="\n"), end="")
    elif options.format == "md":
        from xaibench.differences import summary, to_markdown

        changed = found if options.all else found[(found["state"] != "within") | (found["verdict"] != "")]
        print("\n".join([summary(found), "", *(f"- {name}: {was} → {now}" for name, was, now in others), "", to_markdown(changed)]), end="")
    else:
        show(found, others, Console(width=None if Console().is_terminal else 160), options.all)
    return 0 if held(found) else 1


def show(found: pd.DataFrame, others: list[tuple[str, str, str]], console: Console, everything: bool = False) -> None:
    """Print differences and versions for a person."""
    from xaibench.differences import summary, to_rich

    for name, was, now in others:
        console.print(f"{name}: {was or 'none'} → {now or 'none'}", highlight=False, markup=False, soft_wrap=True)
    chosen = found if everything else found[(found["state"] != "within") | (found["verdict"] != "")]
    shown = chosen if everything else chosen[:LONGEST]
    if len(shown):
        console.print(to_rich(shown))
    if len(chosen) > len(shown):
        console.print(f"and {len(chosen) - len(shown)} more; --all shows them")
    console.print(summary(found), highlight=False)


def _folder(name: str, results: Path, scratch: Path) -> Path:
    """The folder that a name stands for; what is committed is put into `scratch`."""
    study, at, commit = name.rpartition("@")
    for path in (results / name, Path(name)):
        if path.is_dir():
            return path
    if not at:
        known = ", ".join(sorted(path.parent.name for path in results.glob("*/provenance.json"))) or "none"
        raise ConfigurationError(f"{name}: expected a folder, STUDY@COMMIT, or a study in {results}; there is {known}")
    scratch.mkdir()
    for file in FILES:
        content = _git(results, "show", "--end-of-options", f"{commit}:./{study}/{file}")
        if content is not None:
            (scratch / file).write_bytes(content)
    if not any(scratch.iterdir()):
        reason = (
            f"a commit that has {results / study}"
            if _git(results, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}")
            else "a commit"
        )
        raise ConfigurationError(f"{name}: expected {reason} after the @")
    return scratch


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git says, or None if it refuses."""
    try:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
