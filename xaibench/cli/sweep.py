"""A sweep: compute a grid through Hydra, then write and print its tables."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from xaibench.claims import page
from xaibench.cli.compose import Settings, composed
from xaibench.cli.job import task
from xaibench.cli.plan import skipped, summary
from xaibench.cli.progress import bar
from xaibench.cli.request import Request
from xaibench.configuration import conf_folder
from xaibench.execution import failure, missing
from xaibench.formats import terminal
from xaibench.grid import Grid
from xaibench.layout import blocks
from xaibench.longtable import Results
from xaibench.planning import Planned, check, plan
from xaibench.publish import publish
from xaibench.report.page import write
from xaibench.store import Store
from xaibench.tables import aggregate


def sweep(request: Request, tables: bool = True) -> int:
    """Run a request's grid through Hydra; 1 if a cell failed, or if nothing could be done.

    Without `tables` the study's tables and claims are written, but not printed.
    """
    grid, settings = composed(request)
    return computed(grid, settings, lambda: _hydra(request), request.jobs, tables)


def computed(grid: Grid, settings: Settings, compute: Callable[[], None], jobs: int = 1, tables: bool = True) -> int:
    """Compute what the store does not have of a grid, and publish it; 1 if a cell failed, or if nothing could be done."""
    store, console = Store(settings.store), Console(width=None if sys.stdout.isatty() else 140)
    results = Results(grid, store)
    results.read()  # damaged results are told of and removed here, and so computed again
    before = plan(grid, store)
    absent = missing(grid, before, store)
    if absent or not any(item.status == "cached" for item in before) or any(item.status == "to do" for item in before):
        check(grid)
        device = settings.runtime.torch_device()
        for trainer in grid.trainers:
            trainer.component.device(device)
        console.print(summary(grid, before, store))
        for key in [*absent, *(item.key for item in before)]:
            (settings.failures / f"{key}.json").unlink(missing_ok=True)
        with bar(len(before) or jobs, console):
            compute()
        results = Results(grid, store)
    return _finish(results, settings, before, absent, console, tables)


def _hydra(request: Request) -> None:
    """Let Hydra run the folded command line's jobs with the chosen launcher."""
    app, overrides = Hydra.create_main_hydra2("xaibench", request.search_path), request.folded()
    try:
        if request.flags.multirun or request.jobs > 1:
            for job in (job for batch in app.multirun("config", task, overrides) for job in batch):
                _ = job.return_value  # raises what the job raised
        else:
            _ = app.run("config", task, overrides).return_value
    finally:
        GlobalHydra.instance().clear()


def _finish(results: Results, settings: Settings, before: list[Planned], absent: list[str], console: Console, tables: bool) -> int:
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
    states: Counter[str] = Counter()
    for item in before:
        record = failure(item.key, settings.failures)
        left = "skipped" if record and not record["traceback"] else "failed"
        states[item.status if item.status != "to do" else "done" if store.has("evaluate", item.key) else left] += 1
    console.print(", ".join(f"{states[state]} {state}" for state in ("done", "cached", "skipped", "failed")) + f" of {len(before)} cells")
    for text in skipped(before):
        console.print(text, highlight=False)
    records = [record for item in before if item.status == "to do" and (record := failure(item.key, settings.failures))]
    for message, count in Counter(record["message"] for record in records if not record["traceback"]).items():
        console.print(f"skipped {count} x {message}", highlight=False)
    reasons = Counter(record["message"] for record in records if record["traceback"])
    for record in filter(None, (failure(key, settings.failures) for key in absent)):
        if record["traceback"]:
            reasons.setdefault(record["message"], 1)
    for message, count in reasons.items():
        console.print(f"failed {count} x {message}", style="red", highlight=False)
    if reasons:
        console.print(f"tracebacks in {_shown(settings.failures)}", highlight=False)
    nothing = bool(before) and states["skipped"] == len(before)
    return 1 if states["failed"] or reasons or nothing else 0


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
