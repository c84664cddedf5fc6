"""`xaibench store`: what the store holds, whether it is whole, and results in one file that other machines take over."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
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

EXAMPLES = """examples:
  xaibench store list                             results and bytes, stage by stage
  xaibench store verify                           read everything, and compare with the checksums; --remove what is damaged
  xaibench store prune                            what no study in experiments/ needs; --yes removes it
  xaibench store prune quickstart influence       what neither of these needs
  xaibench store export results.tar.gz quickstart grand
  xaibench store import results.tar.gz            on another machine: what is not there yet is taken over

A study needs the classifiers, explanations and scores of its grid, and the networks that these were computed with. What was run from
the command line alone belongs to no study, and is pruned with the rest. STUDY is a file in experiments/, or below --config-dir."""


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
        ("prune", "what no study needs"),
        ("export", "write results into one file"),
        ("import", "take over the results in a file"),
    ):
        action = actions.add_parser(name, help=told)
        action.add_argument("--store", type=Path, help="the store's folder (default: that of `xaibench run`)")
        action.add_argument("--config-dir", help="further configuration, as for `xaibench run`")
        if name in ("export", "import"):
            action.add_argument("file", type=Path, help="a tar file: .tar, .tar.gz or .tar.xz")
        if name in ("export", "prune"):
            action.add_argument("studies", nargs="*", metavar="STUDY", help="default: all in experiments/")
        if name == "verify":
            action.add_argument("--remove", action="store_true", help="remove what is damaged, so that it is computed again")
        if name == "prune":
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

    every = results(store)
    damaged = [(stage, key, told) for stage, key in _track(every, "verify", console) if (told := store.damage(stage, key))]
    for stage, key, told in damaged:
        console.print(f"damaged {stage}/{key}: {told}", style="red", markup=False, soft_wrap=True)
        if options.remove:
            store.remove(stage, key)
    console.print(f"{len(every):,} results, {len(damaged)} damaged" + (" and removed" if damaged and options.remove else ""))
    return int(bool(damaged))


def _prune(store: Store, options: argparse.Namespace, console: Console) -> int:
    import shutil

    from xaibench.archive import abandoned, results, unneeded

    gone, left = unneeded(store, _wanted(options, console)), abandoned(store)
    size = sum(store.size(stage, key) for stage, key in gone)
    console.print(f"{len(gone):,} of {len(results(store)):,} results are needed by none of the studies ({decimal(size)})")
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
    from xaibench.archive import needed, pack

    chosen = needed(store, _wanted(options, console))
    if not chosen:
        raise ConfigurationError(f"store={store.root}: expected results of {', '.join(options.studies) or 'a study'}; there are none")
    pack(store, _track(sorted(chosen), "export", console), options.file)
    console.print(f"{len(chosen):,} results in {options.file} ({decimal(options.file.stat().st_size)})")
    return 0


def _import(store: Store, options: argparse.Namespace, console: Console) -> int:
    from xaibench.archive import unpack

    if not options.file.is_file():
        raise ConfigurationError(f"file={options.file}: expected a tar file, as `xaibench store export` writes it")
    store.root.mkdir(parents=True, exist_ok=True)
    found = unpack(store, options.file)
    for name in found.damaged:
        console.print(f"damaged, and left out: {name}", style="red", markup=False, soft_wrap=True)
    console.print(f"{found.new:,} new results in {store.root}; {found.known:,} were there, {len(found.damaged)} are damaged")
    return int(bool(found.damaged))


def _wanted(options: argparse.Namespace, console: Console) -> list[Result]:
    """What the chosen studies show."""
    from xaibench.archive import roots

    names = options.studies or Request(_given(options)).loader.get_group_options("experiment")
    places = ["--config-dir", options.config_dir] if options.config_dir else []
    grids = [composed(Request([f"experiment={name}", *places]))[0] for name in names]
    return [result for grid in _track(grids, "studies", console) for result in roots(grid)]


def _track(items: list[Item], told: str, console: Console) -> Iterable[Item]:
    return track(items, told, console=console, disable=not console.is_terminal, transient=True)
