"""`xaibench run`: compute a grid through Hydra, then write and print its tables."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from rich.console import Console

from xaibench.cli.compose import Settings, composed
from xaibench.cli.plan import summary
from xaibench.cli.progress import bar
from xaibench.cli.request import Request
from xaibench.grid import Grid, Planned, check, failure, plan
from xaibench.longtable import Results
from xaibench.problem import Training
from xaibench.publish import publish
from xaibench.stages import predict_key
from xaibench.store import Store
from xaibench.tables import aggregate, to_rich


def main(argv: list[str]) -> int:
    """Run a command line's grid; 1 if a cell failed, or if nothing could be done."""
    request = Request(argv)
    if request.only_informs:
        _hydra(request)
        return 0
    grid, settings = composed(request)
    store, console = Store(settings.store), Console(width=None if sys.stdout.isatty() else 140)
    before = plan(grid, store)
    missing = missing_classifiers(grid, store)
    if missing or any(item.status == "to do" for item in before):
        console.print(summary(grid, before, store))
        check(grid)
        settings.runtime.torch_device()
        for key in [*missing, *(item.key for item in before)]:
            (settings.failures / f"{key}.json").unlink(missing_ok=True)
        with bar(len(before) or request.jobs, console):
            _hydra(request)
    return _finish(grid, settings, before, console)


def missing_classifiers(grid: Grid, store: Store) -> dict[str, str]:
    """Keys and names of classifiers without predictions."""
    found = {}
    for dataset, model, trainer, seed in grid.classifiers():
        key = predict_key(Training(dataset.component, model.component, trainer.component, seed))[0]
        if not store.has("predict", key):
            found[key] = f"{dataset.name} {model.name} seed {seed}"
    return found


def _hydra(request: Request) -> None:
    """Let Hydra print what it is asked for, or run the folded command line's jobs with the chosen launcher."""
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra

    from xaibench.cli.job import task

    flags, overrides = request.flags, request.folded()
    app = Hydra.create_main_hydra2("xaibench", request.search_path)
    try:
        if flags.help:
            app.app_help("config", get_args_parser(), flags)
        elif flags.hydra_help:
            app.hydra_help("config", get_args_parser(), flags)
        elif flags.cfg:
            app.show_cfg("config", overrides, flags.cfg, flags.package, flags.resolve)
        elif flags.info:
            app.show_info(flags.info, "config", overrides)
        elif flags.shell_completion:
            app.shell_completion("config", flags.overrides)
        elif flags.multirun or request.jobs > 1:
            for job in (job for batch in app.multirun("config", task, overrides) for job in batch):
                _ = job.return_value  # raises what the job raised
        else:
            _ = app.run("config", task, overrides).return_value
    finally:
        GlobalHydra.instance().clear()


def _finish(grid: Grid, settings: Settings, before: list[Planned], console: Console) -> int:
    store = Store(settings.store)
    results = Results(grid, store)
    if results.found or not grid.explainers:
        publish(results, settings.folder, settings.figures, settings.reference)
        if results.found:
            console.print(to_rich(aggregate(results.scores())))
        console.print(f"results in {_shown(settings.folder)}", highlight=False)
    return _report(grid, settings, before, store, console)


def _report(grid: Grid, settings: Settings, before: list[Planned], store: Store, console: Console) -> int:
    """The sweep's last words: how many cells are done, cached, skipped and failed, and why."""
    states: Counter[str] = Counter()
    for item in before:
        done = item.status == "to do" and store.has("evaluate", item.key)
        state = "done" if done else "failed" if item.status == "to do" else item.status
        states[state] += 1
    console.print(", ".join(f"{states[state]} {state}" for state in ("done", "cached", "skipped", "failed")) + f" of {len(before)} cells")
    skipped = Counter(f"{item.cell.explainer.name} {item.cell.metric.name}: {item.reason}" for item in before if item.status == "skipped")
    for text, count in skipped.items():
        console.print(f"skipped {count} x {text}", highlight=False)
    keys = {item.key: str(item.cell) for item in before if item.status == "to do"} | missing_classifiers(grid, store)
    reasons = Counter(message for key in keys if (message := failure(key, settings.failures)))
    for message, count in reasons.items():
        console.print(f"failed {count} x {message}", style="red", highlight=False)
    if reasons:
        console.print(f"tracebacks in {_shown(settings.failures)}", highlight=False)
    nothing = bool(before) and states["skipped"] == len(before)
    return 1 if states["failed"] or reasons or nothing else 0


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
