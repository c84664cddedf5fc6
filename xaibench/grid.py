"""The grid: all cells of a study, what is known of each before anything runs, and running them."""

from __future__ import annotations

import itertools
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import nn

from xaibench.component import Component, ConfigurationError
from xaibench.problem import Dataset, Explainer, Metric, Model, Passes, Problem, Training
from xaibench.seeding import global_seed
from xaibench.selection import ExplainOn
from xaibench.stages import Explaining, Stages, UnsupportedError, arrays_of, evaluate_key, explain_key, predict_key, train_key
from xaibench.store import Store
from xaibench.training import Trainer

Status = Literal["cached", "to do", "skipped", "failed", "done"]
Part = TypeVar("Part", bound=Component)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry(Generic[Part]):
    """A component under the name that its configuration has."""

    name: str
    component: Part


@dataclass(frozen=True)
class Cell:
    """One (dataset, model, trainer, seed, explainer, metric, draw), on one choice of images."""

    dataset: Entry[Dataset]
    model: Entry[Model]
    trainer: Entry[Trainer]
    seed: int
    explain_on: Entry[ExplainOn]
    explainer: Entry[Explainer]
    metric: Entry[Metric]
    draw: int

    @property
    def training(self) -> Training:
        """The classifier."""
        return Training(self.dataset.component, self.model.component, self.trainer.component, self.seed)

    @property
    def explaining(self) -> Explaining:
        """The explanation."""
        return Explaining(self.training, self.explain_on.component, self.explainer.component, self.draw)

    def key(self) -> str:
        """Key of the cell's scores."""
        return evaluate_key(self.explaining, self.metric.component)[0]

    @property
    def name(self) -> str:
        """The explanation's name in messages."""
        names = (self.dataset.name, self.model.name, f"seed {self.seed}", self.explainer.name)
        return " ".join(names) + (f" draw {self.draw}" if self.draw else "")

    def __str__(self) -> str:
        return f"{self.name} {self.metric.name}"


@dataclass(frozen=True)
class Grid:
    """The product of all its axes. Without explainers it is a grid of classifiers."""

    datasets: tuple[Entry[Dataset], ...]
    models: tuple[Entry[Model], ...]
    trainers: tuple[Entry[Trainer], ...]
    explain_on: tuple[Entry[ExplainOn], ...]
    explainers: tuple[Entry[Explainer], ...]
    metrics: tuple[Entry[Metric], ...]
    seeds: tuple[int, ...]
    draws: tuple[int, ...] = (0,)

    def classifiers(self) -> Iterator[tuple[Entry[Dataset], Entry[Model], Entry[Trainer], int]]:
        """All (dataset, model, trainer, seed) whose network takes the dataset's images."""
        for dataset, model, trainer, seed in itertools.product(self.datasets, self.models, self.trainers, self.seeds):
            if not model.component.unsupported(dataset.component.shape, len(dataset.component.classes)):
                yield dataset, model, trainer, seed

    def cells(self) -> Iterator[Cell]:
        """All cells, those of one explanation together."""
        axes = (self.datasets, self.models, self.trainers, self.seeds, self.explain_on, self.explainers, self.draws, self.metrics)
        for dataset, model, trainer, seed, explain_on, explainer, draw, metric in itertools.product(*axes):
            yield Cell(dataset, model, trainer, seed, explain_on, explainer, metric, draw)


@dataclass(frozen=True)
class Planned:
    """What is known of a cell before it runs: its state, the reason of a skip, and the passes of explaining and scoring."""

    cell: Cell
    key: str
    status: Status
    reason: str = ""
    passes: Passes = field(default_factory=Passes)


def plan(grid: Grid, store: Store) -> list[Planned]:
    """The state of every cell; nothing is computed, and no data is read."""
    return [_planned(cell, store) for cell in grid.cells()]


def check(grid: Grid) -> None:
    """Raise before anything is trained if data is missing or altered, or if a network does not give finite logits of the right shape.

    Raises
    ------
    DataError, ConfigurationError
        With the field, its value and what was expected.
    """
    fits = {(dataset, model) for dataset, model, _, _ in grid.classifiers()}
    if not fits and grid.datasets and grid.models:
        dataset, model = grid.datasets[0].component, grid.models[0].component
        reason = model.unsupported(dataset.shape, len(dataset.classes))
        raise ConfigurationError(f"model={grid.models[0].name} with dataset={grid.datasets[0].name}: {reason}")
    for dataset_entry, model_entry in sorted(fits, key=lambda pair: (pair[0].name, pair[1].name)):
        dataset = dataset_entry.component
        test = arrays_of(dataset).test
        for explain_on in grid.explain_on if grid.explainers else ():
            if explain_on.component.indices is not None:
                explain_on.component.rows(test.labels, test.labels, dataset.subset_seed)
        images = test.images[:2]
        with torch.inference_mode():
            logits = untrained(model_entry.component, dataset.shape, len(dataset.classes))(images)
        if logits.shape != (len(images), len(dataset.classes)) or not logits.isfinite().all():
            found = f"shape {tuple(logits.shape)}" if logits.isfinite().all() else "NaN or infinite values"
            raise ConfigurationError(f"model={model_entry.name}: expected finite logits of {len(dataset.classes)} classes, got {found}")


def run(grid: Grid, stages: Stages, failures: Path, progress: Callable[[Cell], None] = lambda cell: None) -> None:
    """Compute every cell that is not in the store. A failing cell is recorded in `failures` and does not stop the others.

    A classifier whose failure is on record is not trained again, and its cells fail with it: delete the record to retry. Classifiers
    and explanations of cached cells are restored where they are absent.

    Parameters
    ----------
    failures
        A folder for one file for each failed cell, or classifier: message, traceback.
    progress
        Called after each cell.
    """
    if not grid.explainers:
        for dataset, model, trainer, seed in grid.classifiers():
            _classifier(Training(dataset.component, model.component, trainer.component, seed), stages, failures)
    for explaining, group in itertools.groupby(plan(grid, stages.store), key=lambda planned: planned.cell.explaining):
        members, start = list(group), time.perf_counter()
        todo = [planned for planned in members if planned.status == "to do"]
        wanted = todo or (any(planned.status == "cached" for planned in members) and not complete(explaining, stages.store))
        broken = _explanation(members[0].cell, stages, failures) if wanted else None
        for planned in members:
            if planned.status == "to do":
                _cell(planned, broken, stages, failures)
            progress(planned.cell)
        if todo:
            failed = sum(not stages.store.has("evaluate", planned.key) for planned in todo)
            told = f"{len(todo) - failed} scores" + (f", {failed} failed" if failed else "")
            log.info("%s: %s (%.1f s)", members[0].cell.name, told, time.perf_counter() - start)


def missing(grid: Grid, cells: list[Planned], store: Store) -> list[str]:
    """Keys under which `run` records why a classifier or an explanation cannot be had, of those that are not in the store."""
    if not grid.explainers:
        trainings = [
            Training(dataset.component, model.component, trainer.component, seed) for dataset, model, trainer, seed in grid.classifiers()
        ]
        return [predict_key(training)[0] for training in trainings if not _trained(training, store)]
    wanted = dict.fromkeys(planned.cell.explaining for planned in cells if planned.status != "skipped")
    lacking = [explaining for explaining in wanted if not complete(explaining, store)]
    return list(dict.fromkeys(key for item in lacking for key in (predict_key(item.training)[0], explain_key(item)[0])))


def complete(explaining: Explaining, store: Store) -> bool:
    """Whether the explanation and its classifier are in the store: tables and figures show them beside the scores."""
    return _trained(explaining.training, store) and store.has("explain", explain_key(explaining)[0])


def _trained(training: Training, store: Store) -> bool:
    return store.has("train", train_key(training)[0]) and store.has("predict", predict_key(training)[0])


def _cell(planned: Planned, broken: dict[str, str] | None, stages: Stages, failures: Path) -> None:
    cell = planned.cell
    if broken:
        _record(failures, planned.key, str(cell), broken["message"], broken["traceback"])
    else:
        _attempt(lambda: stages.evaluate(cell.explaining, cell.metric.component), str(cell), planned.key, failures)


def _explanation(cell: Cell, stages: Stages, failures: Path) -> dict[str, str] | None:
    """Make sure that the cell's classifier and explanation are there; the record of the failure if they cannot be had."""
    key, broken = explain_key(cell.explaining)[0], _classifier(cell.training, stages, failures)
    if broken or stages.store.has("explain", key):
        return broken
    _attempt(lambda: stages.explain(cell.explaining), cell.name, key, failures)
    return failure(key, failures)


def _classifier(training: Training, stages: Stages, failures: Path) -> dict[str, str] | None:
    """Make sure that the classifier and its predictions are there; the record of the failure if they cannot be had."""
    key = predict_key(training)[0]
    if not _trained(training, stages.store) and not failure(key, failures):
        name = f"{type(training.model).__name__} on {type(training.dataset).__name__}, seed {training.seed}"
        _attempt(lambda: (stages.train(training), stages.predict(training)), name, key, failures)
    return failure(key, failures)


def failure(key: str, failures: Path) -> dict[str, str] | None:
    """Message and traceback of the last failure of a cell, an explanation or a classifier, or None."""
    path = failures / f"{key}.json"
    return json.loads(path.read_text()) if path.exists() else None


@lru_cache(maxsize=8)
def untrained(model: Model, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A freshly initialized network in eval mode, for what depends on the architecture alone."""
    with global_seed(0):
        return model.build(shape, classes).eval().requires_grad_(False)


def _planned(cell: Cell, store: Store) -> Planned:
    dataset, model = cell.dataset.component, cell.model.component
    key = cell.key()
    reason = model.unsupported(dataset.shape, len(dataset.classes))
    if reason:
        return Planned(cell, key, "skipped", reason)
    if store.has("evaluate", key):
        return Planned(cell, key, "cached")
    explainer, metric = cell.explainer.component, cell.metric.component
    reason, passes = _outlook(dataset, model, cell.explain_on.component, explainer, metric)
    return Planned(cell, key, "skipped" if reason else "to do", reason, passes)


@lru_cache(maxsize=100_000)
def _outlook(dataset: Dataset, model: Model, explain_on: ExplainOn, explainer: Explainer, metric: Metric) -> tuple[str, Passes]:
    """Why a cell must be skipped, or "", and its passes: from the architecture and the shapes alone."""
    problem = _blank(dataset, model, explain_on)
    reason = explainer.unsupported(problem) or metric.unsupported(problem, explainer)
    return (reason, Passes()) if reason else ("", explainer.passes(problem) + metric.passes(problem))


@lru_cache(maxsize=4)
def _blank(dataset: Dataset, model: Model, explain_on: ExplainOn) -> Problem:
    """A problem of the right shapes without content."""
    classes = len(dataset.classes)
    count = len(explain_on.indices) if explain_on.indices else explain_on.count or 10_000
    count = min(count, explain_on.per_class * classes) if explain_on.per_class else count
    zeros = torch.zeros(count, dtype=torch.int64)
    return Problem(
        model=untrained(model, dataset.shape, classes),
        images=torch.zeros(count, *dataset.shape),
        targets=explain_on.classes(zeros, zeros, classes),
        labels=zeros,
        index=torch.arange(count),
        background=torch.zeros(explain_on.background, *dataset.shape),
        probabilities=torch.full((count, classes), 1 / classes),
    )


def _attempt(compute: Callable[[], Any], name: str, key: str, failures: Path) -> None:
    """Run, log and record one cell or classifier."""
    start = time.perf_counter()
    try:
        compute()
    except UnsupportedError as error:
        log.warning("skipped %s: %s", name, error)
    except Exception as error:  # whatever goes wrong in one cell must not stop the others; it is recorded and reported
        message = f"{type(error).__name__}: {error}"
        log.error("failed %s: %s", name, message)
        _record(failures, key, name, message, traceback.format_exc())
    else:
        (failures / f"{key}.json").unlink(missing_ok=True)
        log.debug("done %s (%.1f s)", name, time.perf_counter() - start)


def _record(failures: Path, key: str, name: str, message: str, trace: str) -> None:
    failures.mkdir(parents=True, exist_ok=True)
    (failures / f"{key}.json").write_text(json.dumps({"cell": name, "message": message, "traceback": trace}, indent=1))
