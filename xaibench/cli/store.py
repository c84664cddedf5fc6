"""`xaibench store`: what the store holds, whether it is whole, and results in one file that other machines take over."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.filesize import decimal
from rich.progress import track

from xaibench.cli.compose import composed
from xaibench.cli.request import Request
from xaibench.component import ConfigurationError

if TYPE_CHECKING:
    from xaibench.archive import Result
    from xaibench.store import Store

Item = TypeVar("Item")

FIRST_LINE = 2.0
"""Seconds."""

EXAMPLES = """examples:
  xaibench store list                             results and bytes, stage by stage
  xaibench store verify                           read everything, and compare with the checksums; --remove what is damaged
  xaibench store prune                            what killed processes left half written; --yes removes it
  xaibench store prune --all-but quickstart grand all results that neither study needs, too: --yes removes them
  xaibench store export results.tar.gz quickstart grand
  xaibench store export results.tar.gz --all      also what belongs to no study
  xaibench store import results.tar.gz            on another machine: what is not there yet is taken over

A study needs the classifiers, explanations and scores of its grid, and the networks that these were computed with. What was run from
the command line alone belongs to no study: `export --all` takes it along, and `prune --all-but` removes it, trained networks included.
STUDY is a file in experiments/, or below --config-dir."""


def main(argv: list[str]) -> int:
    """Run an action; 1 if something is damaged."""
    options = _parsed(argv)

    _, settings = composed(Request(_given(options)))
    if options.action != "import" and not settings.store.root.is_dir():
        raise ConfigurationError(f"store={settings.store.root}: expected a folder; `xaibench run` makes it")
    actions: dict[str, Callable[[Store, argparse.Namespace, Console], int]] = {
        "list": _list,
        "verify": _verify,
        "prune": _prune,
        "export": _export,
        "import": _import,
    }
    return actions[options.action](settings.store, options, Console(width=None if Console().is_terminal else 140, highlight=False))


def _parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "xaibench store", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, told in (
        ("list", "results and bytes"),
        ("verify", "compare everything with its checksums"),
        ("prune", "remove what is not needed any more"),
        ("export", "write results into one file"),
        ("import", "take over the results in a file"),
    ):
        action = actions.add_parser(name, help=told)
        action.add_argument("--store", type=Path, help="the store's folder (default: that of `xaibench run`)")
        action.add_argument("--config-dir", help="further configuration, as for `xaibench run`")
        if name in ("export", "import"):
            action.add_argument("file", type=Path, help="a tar file: .tar, .tar.gz, .tgz or .tar.xz")
        if name == "export":
            action.add_argument("studies", nargs="*", metavar="STUDY", help="default: all in experiments/")
            action.add_argument("--all", action="store_true", help="everything in the store, also what was run from the command line")
        if name == "verify":
            action.add_argument("--remove", action="store_true", help="remove what is damaged, so that it is computed again")
        if name == "prune":
            told = "all results that none of these studies needs, also those of runs from the command line; without, no result"
            action.add_argument("--all-but", nargs="+", metavar="STUDY", default=[], help=told)
            action.add_argument("--yes", action="store_true", help="remove it; without, it is only counted")
    return parser.parse_args(argv)


def _given(options: argparse.Namespace) -> list[str]:
    store = [f"runtime.store={options.store}"] if options.store else []
    return [*store, *(["--config-dir", options.config_dir] if options.config_dir else [])]


def _list(store: Store, options: argparse.Namespace, console: Console) -> int:
    from rich.table import Table

    from xaibench.archive import abandoned, results

    counts: dict[str, list[int]] = {}
    for stage, key in _track(results(store), "list", console):
        counts.setdefault(stage, []).append(store.size(stage, key))
    table = Table("stage", "results", "bytes", "largest", title=str(store.root), title_justify="left")
    for stage, sizes in counts.items():
        table.add_row(stage, f"{len(sizes):,}", decimal(sum(sizes)), decimal(max(sizes)))
    table.add_row("all", f"{sum(map(len, counts.values())):,}", decimal(sum(map(sum, counts.values()))), "")
    console.print(table)
    if left := abandoned(store):
        console.print(f"{len(left)} folders of writers that were killed; `xaibench store prune --yes` removes them")
    return 0


def _verify(store: Store, options: argparse.Namespace, console: Console) -> int:
    from xaibench.archive import results

    every, damaged, unread = results(store), 0, 0
    for stage, key in _track(every, "verify", console):
        try:
            told = store.damage(stage, key)
        except OSError as error:  # of the system: the result may be whole
            unread += 1
            console.print(f"cannot be read {stage}/{key}: {error}", style="red", markup=False, soft_wrap=True)
            continue
        if told:
            damaged += 1
            console.print(f"damaged {stage}/{key}: {told}", style="red", markup=False, soft_wrap=True)
            if options.remove:
                store.read(stage, key)
    removed = " and removed" if damaged and options.remove else ""
    console.print(f"{len(every):,} results, {damaged} damaged{removed}" + (f", {unread} cannot be read" if unread else ""))
    return int(bool(damaged or unread))


def _prune(store: Store, options: argparse.Namespace, console: Console) -> int:
    import shutil

    from xaibench.archive import abandoned, results, unneeded

    left, names = abandoned(store), options.all_but
    gone = unneeded(store, _wanted(names, options, console)) if names else []
    size = sum(store.size(stage, key) for stage, key in _track(gone, "sizes", console))
    if names:
        counts = ", ".join(f"{count:,} {stage}" for stage, count in Counter(stage for stage, _ in gone).items())
        told = f": {counts}; {decimal(size)}, with what was run from the command line" if gone else ""
        console.print(f"{len(gone):,} of {len(results(store)):,} results are needed by none of {', '.join(names)}{told}")
    else:
        console.print("all results stay; --all-but STUDY... removes those that none of these studies needs")
    console.print(f"{len(left)} folders of writers that were killed")
    if not options.yes:
        if gone or left:
            console.print("nothing was removed: --yes removes them")
        return 0
    for stage, key in _track(gone, "prune", console):
        store.remove(stage, key)
    for folder in left:
        shutil.rmtree(folder)
    console.print(f"removed {len(gone):,} results and {len(left)} folders of writers that were killed")
    return 0


def _export(store: Store, options: argparse.Namespace, console: Console) -> int:
    from xaibench.archive import compression, needed, pack, results

    compression(options.file)  # before anything takes long
    if options.all and options.studies:
        raise ConfigurationError(f"--all {' '.join(options.studies)}: expected either --all or names of studies")
    names = options.studies or Request(_given(options)).loader.get_group_options("experiment")
    chosen = results(store) if options.all else needed(store, _wanted(names, options, console))
    if not chosen:
        told = "any" if options.all else f"{', '.join(options.studies) or 'a study'} (--all takes also what belongs to none)"
        raise ConfigurationError(f"store={store.root}: expected results of {told}; there are none")
    pack(store, chosen, options.file, lambda items: _track(items, "export", console))
    console.print(f"{len(chosen):,} results in {options.file} ({decimal(options.file.stat().st_size)})")
    return 0


def _import(store: Store, options: argparse.Namespace, console: Console) -> int:
    from xaibench.archive import unpack

    if not options.file.is_file():
        raise ConfigurationError(f"file={options.file}: expected a tar file, as `xaibench store export` writes it")
    store.check()
    found = unpack(store, options.file)
    for name in found.damaged:
        console.print(f"damaged, and left out: {name}", style="red", markup=False, soft_wrap=True)
    lost = f", {found.lost:,} cannot be read: the file is damaged" if found.lost else ""
    console.print(f"{found.new:,} new results in {store.root}; {found.known:,} were there, {len(found.damaged)} are damaged{lost}")
    return int(bool(found.damaged or found.lost))


def _wanted(names: list[str], options: argparse.Namespace, console: Console) -> Iterable[Result]:
    """What studies show."""
    from xaibench.archive import roots

    places = ["--config-dir", options.config_dir] if options.config_dir else []
    found: list[Result] = []
    for name in _track(names, "studies", console):
        found += roots(composed(Request([f"experiment={name}", *places]))[0])
    return _track(found, "needed", console)


def _track(items: list[Item], told: str, console: Console) -> Iterator[Item]:
    """Show how far it is: a bar in a terminal; elsewhere a line after two seconds, and whenever that time has doubled."""
    if console.is_terminal:
        yield from track(items, told, console=console, transient=True)
        return
    start, due = time.monotonic(), FIRST_LINE
    for done, item in enumerate(items):
        if time.monotonic() - start >= due:
            console.print(f"{told}: {done:,} of {len(items):,}")
            due *= 2
        yield item
