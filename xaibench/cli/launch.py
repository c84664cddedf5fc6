"""Jobs through Hydra's launchers: in this process, in several, on a cluster. What dies is launched again."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from xaibench.cli.compose import Settings
from xaibench.cli.job import task
from xaibench.cli.request import Request
from xaibench.component import ConfigurationError, UserError
from xaibench.execution import PHASES
from xaibench.failures import Failure
from xaibench.grid import Grid
from xaibench.identity import predict_key, train_key
from xaibench.jobs import Job, batches
from xaibench.planning import Planned, helpers, plan
from xaibench.progress import names

DIED = "its process died, also when it was computed alone; was it killed, or out of memory?"

LOST = "{count} jobs ended without an error, and what they were to compute is not in {root}: do they share folder, code and data?"

Launch = Callable[[list[list[Job]]], Exception | None]

log = logging.getLogger(__name__)


def launched(request: Request, grid: Grid, settings: Settings) -> None:
    """Compute a grid with the chosen launcher, batch by batch.

    A process that dies loses what it was computing. The rest is launched again, and so is that. What is lost a second time is computed
    alone: if it takes its process with it once more, it counts as failed.

    Raises
    ------
    Exception
        What the launcher raised, if nothing has changed when it is asked again.
    UserError
        If jobs end without an error, and what they were to compute is not in the store.
    """
    store, died, failing = settings.store, set[str](), False
    with _launcher(request) as launcher:

        def launch(jobs: list[list[Job]]) -> Exception | None:
            return _launch(launcher, request, grid, settings, jobs)

        jobs = _left(grid, plan(grid, store), settings)
        while jobs:
            error, lost = launch(jobs), store.abandoned()
            before, jobs = jobs, _left(grid, plan(grid, store), settings)
            stuck = jobs == before and lost <= store.failures.keys()
            if stuck and (failing or not error):
                raise error or UserError(LOST.format(count=sum(map(len, jobs)), root=store.root))
            if error:
                log.warning("%s: what it left is launched again", " ".join(str(error).split())[:200] or type(error).__name__)
            if suspects := lost & died:
                _alone(suspects, grid, settings, launch)
                jobs = _left(grid, plan(grid, store), settings)
            died, failing = died | lost, stuck


def _left(grid: Grid, cells: list[Planned], settings: Settings, passes: int | None = None) -> list[list[Job]]:
    """The batches that are left to do, as far as is asked for."""
    found = batches(grid, cells, settings.store, settings.passes_per_job if passes is None else passes)
    return [batch for batch in found if PHASES.index(batch[0].phase) <= PHASES.index(settings.until)]


def _alone(suspects: set[str], grid: Grid, settings: Settings, launch: Launch) -> None:
    """Compute one after the other what may have killed its process, and put on record what does."""
    store, cells = settings.store, plan(grid, settings.store)
    known = names(cells)
    classifiers = {train_key(each)[0]: predict_key(each)[0] for each in grid.trainings()}  # whose failures have this name
    concerned = [replace(item, status=item.status if suspects & set(_keys(item)) else "skipped") for item in cells]
    for job in (job for batch in _left(grid, concerned, settings, passes=1) for job in batch):
        if launch([[job]]):
            for key in store.abandoned():
                for name in {key, classifiers.get(key, key)}:
                    store.failures.record(name, Failure(known.get(key, key), DIED, DIED))


def _keys(item: Planned) -> Iterator[str]:
    training = item.cell.training
    return iter((item.key, item.cell.explaining.key, train_key(training)[0], predict_key(training)[0], *helpers([item])))


@contextlib.contextmanager
def _launcher(request: Request) -> Iterator[Launcher]:
    app = Hydra.create_main_hydra2("xaibench", request.search_path)
    try:
        config = app.compose_config("config", request.fixed(), run_mode=RunMode.MULTIRUN)
        context = HydraContext(config_loader=app.config_loader, callbacks=Callbacks(config))
        yield _instance(config, context)
    finally:
        GlobalHydra.instance().clear()


def _instance(config: DictConfig, context: HydraContext) -> Launcher:
    try:
        return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
    except RuntimeError as error:
        name = config.hydra.runtime.choices["hydra/launcher"]
        extra = "ray" if name == "ray" else "launchers"
        raise ConfigurationError(f"hydra/launcher={name}: expected its package; pip install 'xaibench[{extra}]' ({error})") from error


def _launch(launcher: Launcher, request: Request, grid: Grid, settings: Settings, jobs: Sequence[Sequence[Job]]) -> Exception | None:
    """Launch batch after batch; the error if a job died."""
    number = 0
    for batch in jobs:
        size = settings.jobs or (1 if isinstance(launcher, BasicLauncher) else len(batch))
        for some in (batch[start : start + size] for start in range(0, len(batch), size)):
            try:
                for job in launcher.launch([overrides(request, grid, settings, job) for job in some], number):
                    if job.status is JobStatus.FAILED:
                        raise job._return_value  # what the job raised; the property would print its whole command line first
            except UserError:
                raise
            except Exception as error:  # every launcher has errors of its own for a job that died
                return error
            number += len(some)
    return None


def overrides(request: Request, grid: Grid, settings: Settings, job: Job) -> list[str]:
    """The command line of a job: the request's choices that are its part of the grid, how far to go, and where results go.

    Where a live view is shown, only warnings of the jobs are; their log files have all.
    """
    part = job.grid
    lines = [line for line in request.fixed() if not line.lstrip("+~").startswith("hydra")]
    for group, entries, chosen in (
        ("dataset", grid.datasets, part.datasets),
        ("model", grid.models, part.models),
        ("trainer", grid.trainers, part.trainers),
    ):
        lines += request.choices[group][entries.index(chosen[0])].chosen()
    lines += [f"++{name}={value}" for name, value in request.images()[grid.explain_on.index(part.explain_on[0])]]
    lines += [f"seed={part.seeds[0]}", f"draw={part.draws[0]}", "~explainer"]
    lines += request.lines("explainer", "explainers", [grid.explainers.index(entry) for entry in part.explainers])
    lines += request.lines("metric", "metrics", [grid.metrics.index(entry) for entry in part.metrics])
    places = {"until": job.phase, "results": _quoted(settings.results), "store": _quoted(settings.store.root)}
    quiet = ["++hydra.job_logging.handlers.console.level=WARNING"] if sys.stdout.isatty() else []
    return [*lines, *quiet, *(f"++runtime.{name}={value}" for name, value in places.items())]


def _quoted(path: object) -> str:
    return "'" + str(path).replace("'", "\\'") + "'"
