"""A sweep: compute a grid through Hydra, then write and print its tables."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from xaibench.claims import page
from xaibench.classifiers import given
from xaibench.cli.compose import Settings, composed
from xaibench.cli.launch import launched
from xaibench.cli.plan import lines, summary
from xaibench.cli.request import Request
from xaibench.configuration import conf_folder
from xaibench.execution import PHASES, missing, retry
from xaibench.grid import Grid
from xaibench.planning import Planned, check, plan
from xaibench.progress import watching
from xaibench.publish import publish
from xaibench.report.page import write
from xaibench.store import Store
from xaibench.tables.aggregate import aggregate
from xaibench.tables.formats import terminal
from xaibench.tables.layout import blocks
from xaibench.tables.longtable import Results


def sweep(request: Request, tables: bool = True) -> int:
    """Run a request's grid through Hydra; 1 if a cell failed, or if nothing could be done.

    Without `tables` the study's tables and claims are written, but not printed.
    """
    grid, settings = composed(request)
    return computed(grid, settings, lambda: launched(request, grid, settings), tables)


def computed(grid: Grid, settings: Settings, compute: Callable[[], None], tables: bool = True) -> int:
    """Compute what the store does not have of a grid, and publish it; 1 if a cell failed, or if nothing could be done."""
    store, console = settings.store, Console(width=None if sys.stdout.isatty() else 140)
    store.abandoned()  # by sweeps that were killed
    results = Results(grid, store)
    results.read()  # damaged results are told of and removed here, and so computed again, as are damaged records
    store.failures.clean()
    before = plan(grid, store)
    if settings.retry:
        retry(grid, before, store)
        before = plan(grid, store)
    absent = missing(grid, before, store)
    states = {item.status for item in before}
    useless = "cached" not in states and (before or next(grid.classifiers(), None) is None)
    if set(absent) - store.failures.keys() or "to do" in states or useless:
        check(grid)
        store.check()
        device = settings.runtime.torch_device()
        for trainer in grid.trainers:
            trainer.component.device(device)
        console.print(summary(grid, before, store))
        with watching(before, store, console):
            compute()
        results = Results(grid, store)
    return _finish(results, settings, before, absent, console, tables)


def _finish(results: Results, settings: Settings, before: list[Planned], absent: list[str], console: Console, tables: bool) -> int:
    for text, useless in given(results):
        asked = "; are model.mean, model.std and the order of dataset.class_names those that it was trained with?" if useless else ""
        console.print(text + asked, style="red" if useless else None, highlight=False, soft_wrap=True)
    if results.found or not results.grid.explainers:
        claims = publish(results, settings.folder, settings.figures, settings.reference, settings.claims, settings.pictures)
        if results.found and tables:
            console.print(terminal(blocks(aggregate(results.scores()))))
        if len(claims) and tables:
            console.print(page.to_rich(claims))
        report = write(settings.folder, conf_folder())
        if tables:
            console.print(f"results in {_shown(settings.folder)}", highlight=False)
            console.print(f"report in {_shown(report)}", highlight=False)
        told = settings.tracker.mirror(results, settings.study, settings.folder)
        if told:
            console.print(told, highlight=False)
    return _report(results.store, settings, before, absent, console)


def _report(store: Store, settings: Settings, before: list[Planned], absent: list[str], console: Console) -> int:
    """The sweep's last words: how many cells are done, cached, skipped and failed, and why."""
    tried = [item for item in before if item.status in ("to do", "failed")]
    records = {key: record for key in [*(item.key for item in tried), *absent] if (record := store.failures.of(key))}
    states: Counter[str] = Counter(item.status for item in before if item.status != "to do")
    for item in (item for item in tried if item.status == "to do"):
        left = "left" if item.key not in records else "skipped" if records[item.key].skipped else "failed"
        states["done" if store.has("evaluate", item.key) else left] += 1
    counted = ("done", "cached", "skipped", "failed", *(["left"] if states["left"] else []))
    console.print(", ".join(f"{states[state]} {state}" for state in counted) + f" of {len(before)} cells")
    for text in lines(before):
        console.print(text, highlight=False)
    found = [records[item.key] for item in tried if item.status == "to do" and item.key in records]
    for message, count in Counter(record.message for record in found if record.skipped).items():
        console.print(f"skipped {count} x {message}", highlight=False)
    reasons = Counter(records[item.key].message for item in tried if item.key in records and not records[item.key].skipped)
    for key in absent:
        if key in records and not records[key].skipped:
            reasons.setdefault(records[key].message, 1)
    for message, count in reasons.items():
        console.print(f"failed {count} x {message}", style="red", highlight=False)
    if reasons:
        console.print(f"tracebacks in {_shown(store.failures.folder)}; retry=failed tries again", highlight=False)
    nothing = bool(before) and states["skipped"] == len(before)
    lacking = settings.until == PHASES[-1] and states["left"]
    return 1 if states["failed"] or lacking or reasons or nothing else 0


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
