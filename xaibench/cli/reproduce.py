"""`xaibench reproduce`: run a study again and compare every number with the committed ones.

The exit status is 0 if nothing moved beyond its intervals or vanished, else 1.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from xaibench.cli.compose import Settings, composed
from xaibench.cli.request import Request
from xaibench.component import ConfigurationError

if TYPE_CHECKING:
    from xaibench.grid import Grid

EXAMPLES = """examples:
  xaibench reproduce quickstart                   what is not in the store is computed; then every number is compared
  xaibench reproduce quickstart --fresh           everything is computed, from nothing
  xaibench reproduce fashion_deepshap --smoke     four images, one epoch, tiny budgets: does it run, and write the same files?

Compared are table.csv, claims.csv and classifiers.csv of results/STUDY with those of the new run, as `xaibench diff` does it. Beside
them stand the paper's numbers, where the study has claims. The study's folder stays as it is; if something moved, the new files are
kept, and the command says where. RUNTIME is runtime.NAME=VALUE of `xaibench run`, such as runtime.store=FOLDER or runtime.threads=4."""


def main(argv: list[str]) -> int:
    """Run a study again and tell what moved."""
    options = _parsed(argv)
    given = [f"experiment={options.study}", "tracker=none", *options.runtime]
    given += ["--config-dir", options.config_dir] if options.config_dir else []
    _, settings = composed(Request(given))
    if not (settings.folder / "provenance.json").is_file():
        raise ConfigurationError(f"study={options.study}: expected its results in {settings.folder}, to compare with")
    scratch = Path(tempfile.mkdtemp(prefix="xaibench-reproduce-"))
    alike = False
    try:
        store = scratch / "store" if options.fresh or options.smoke else settings.store.root
        request = Request([*given, f"runtime.results={scratch}", f"runtime.store={store}"])
        alike = (_smoke if options.smoke else _again)(request, settings.folder, Console(width=None if Console().is_terminal else 160))
    finally:
        shutil.rmtree(scratch if alike else scratch / "store", ignore_errors=True)
    if not alike:
        print(f"the new files are in {scratch}")
    return 0 if alike else 1


def _parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "xaibench reproduce", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="name of a file in experiments/")
    parser.add_argument("runtime", nargs="*", metavar="RUNTIME", help="where and how to run: runtime.NAME=VALUE")
    parser.add_argument("--smoke", action="store_true", help="only see whether a tiny version runs and writes the same kinds of files")
    parser.add_argument("--fresh", action="store_true", help="with an empty store: nothing that was computed before is used")
    parser.add_argument("--config-dir", help="further configuration, as for `xaibench run`")
    options = parser.parse_intermixed_args(argv)
    wrong = [text for text in options.runtime if not text.startswith("runtime.")]
    if wrong:
        raise ConfigurationError(f"{wrong[0]}: expected runtime.NAME=VALUE; a study with other fields is another study: use `xaibench run`")
    return options


def _again(request: Request, committed: Path, console: Console) -> bool:
    """Run the study and compare its numbers; whether they are the same within their intervals."""
    from xaibench.claims import page
    from xaibench.cli.diff import show
    from xaibench.cli.sweep import sweep
    from xaibench.differences import differences, held, versions
    from xaibench.publish import CLAIMS, CLASSIFIERS, load_claims

    status = sweep(request, tables=False)
    folder = _settings(request).folder
    if not folder.is_dir():
        return False
    if (folder / CLASSIFIERS).is_file():
        console.print((folder / "classifiers.md").read_text(encoding="utf-8"), markup=False, highlight=False)
    if (folder / CLAIMS).is_file():
        console.print(page.to_rich(load_claims(folder)))
    found = differences(committed, folder)
    show(found, versions(committed, folder), console)
    alike = held(found) and not status
    verdict = "reproduced: nothing moved beyond its intervals" if alike else "not reproduced: cells failed" if status else "not reproduced"
    console.print(verdict, style="green" if alike else "red")
    return alike


def _smoke(request: Request, committed: Path, console: Console) -> bool:
    """Run the smallest version of the study; whether all of it ran, and wrote the same kinds of files."""
    from xaibench.cli.job import compute
    from xaibench.cli.smoke import other_kinds, reduced
    from xaibench.cli.sweep import computed

    grid, settings = composed(request)
    small: Grid = reduced(grid)
    status = computed(small, settings, lambda: compute(small, settings), tables=False)
    others = list(other_kinds(committed, settings.folder)) if settings.folder.is_dir() else ["nothing was written"]
    for text in others:
        console.print(text, highlight=False, markup=False, style="red", soft_wrap=True)
    alike = not status and not others
    console.print("it runs, and writes the same kinds of files" if alike else "not as it was", style="green" if alike else "red")
    return alike


def _settings(request: Request) -> Settings:
    return composed(request)[1]
