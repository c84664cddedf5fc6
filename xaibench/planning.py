"""What is known of a grid before anything runs: the state of every cell, and whether all of it can be."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from xaibench import checking
from xaibench.budget import Budget, affords
from xaibench.component import ConfigurationError
from xaibench.explaining import blocks
from xaibench.grid import Cell, Entry, Grid
from xaibench.identity import train_key
from xaibench.problem import Dataset, Explainer, Model, Passes, Problem, Split, Training
from xaibench.scoring import Metric
from xaibench.seeding import global_seed
from xaibench.selection import ExplainOn
from xaibench.stages import arrays_of
from xaibench.store import Store
from xaibench.training import check_trainable, load

Status = Literal["cached", "to do", "skipped", "failed"]

log = logging.getLogger(__name__)

TRAINING_IMAGES = 50_000
"""How many training images a dataset is taken to have that does not tell before it is read."""

TEST_IMAGES = 10_000
"""How many test images."""


@dataclass(frozen=True)
class Planned:
    """What is known of a cell before it runs: its state, the reason of a skip or failure, and the passes of explaining and scoring."""

    cell: Cell
    status: Status
    reason: str = ""
    explaining: Passes = field(default_factory=Passes)
    scoring: Passes = field(default_factory=Passes)

    @property
    def key(self) -> str:
        """Key of its scores."""
        return self.cell.key

    @property
    def passes(self) -> Passes:
        """Of both; the cells of one explanation share its part."""
        return self.explaining + self.scoring


def plan(grid: Grid, store: Store) -> list[Planned]:
    """The state of every cell; nothing is computed, and no data is read."""
    failed = store.failures.keys()
    return [_planned(cell, reason, store, failed) for cell, reason in _cells(grid)]


def cells(grid: Grid) -> Iterator[Cell]:
    """All cells whose parts fit and that the grid's budget allows, with as many images as it allows."""
    return (cell for cell, reason in _cells(grid) if not reason)


def helpers(cells: Iterable[Planned]) -> dict[str, Training]:
    """By key: the further networks that the cells to do need, and the networks which those need in turn."""
    found: dict[str, Training] = {}
    wanted: list[Training] = []
    for item in cells:
        if item.status == "to do":
            explaining, metric = item.cell.explaining, item.cell.metric.component
            wanted += explaining.explainer.needs(explaining.training).values()
            wanted += metric.needs(explaining.training, explaining.explainer).values()
    while wanted:
        training = wanted.pop()
        if found.setdefault(train_key(training)[0], training) is training and training.procedure and training.origin:
            wanted += training.procedure.needs(training.origin).values()
    return found


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
        if not model_entry.component.fixed:
            check_trainable(arrays_of(dataset))
        for explain_on in grid.explain_on if grid.explainers else ():
            if explain_on.component.indices is not None:
                explain_on.component.rows(test.labels, test.labels, dataset.subset_seed)
        if model_entry.component.fixed and len(grid.seeds) > 1:
            seeds = ",".join(map(str, grid.seeds))
            raise ConfigurationError(f"seed={seeds} with model={model_entry.name}: expected one seed, as its weights are given")
        _check_network(model_entry, dataset, test.images[:2])


def _check_network(entry: Entry[Model], dataset: Dataset, images: Tensor) -> None:
    """Raise if the network does not give finite logits of the right shape, the same ones twice; warn if it gives probabilities."""
    classes, told = len(dataset.classes), f"model={entry.name}"
    network = untrained(entry.component, dataset.shape, classes)
    if entry.component.fixed:
        given = entry.component.pretrained(dataset.shape, classes)
        network = load(entry.component, dataset.shape, classes, dict(given or {}), images.device)
    logits = checking.steady(network, images, told)
    if logits.shape[1] != classes:
        raise ConfigurationError(f"{told}: expected finite logits of {classes} classes, got shape {tuple(logits.shape)}")
    if (logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones(len(images))):
        log.warning("%s gives probabilities; expected logits: leave out the last softmax", told)


@lru_cache(maxsize=8)
def untrained(model: Model, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A freshly initialized network in eval mode, for what depends on the architecture alone."""
    with global_seed(0):
        return model.build(shape, classes).eval().requires_grad_(False)


@lru_cache(maxsize=2)
def _cells(grid: Grid) -> tuple[tuple[Cell, str], ...]:
    """Each cell with the images that the budget allows, and why its parts or the budget rule it out, or "".

    The same objects for all who ask, so that their keys are computed once.
    """
    budget = grid.budget
    return tuple((cell, cell.unsupported) if budget is None or cell.unsupported else _sized(cell, budget) for cell in grid.cells())


def _planned(cell: Cell, reason: str, store: Store, failed: set[str]) -> Planned:
    if reason:
        return Planned(cell, "skipped", reason)
    if store.has("evaluate", cell.key):
        return Planned(cell, "cached")
    record = store.failures.of(cell.key) if cell.key in failed else None
    if record is not None:
        return Planned(cell, "skipped" if record.skipped else "failed", record.message)
    reason, passes = _outlook(cell, cell.explain_on.component)
    if not reason and cell.score_on is not None:
        passes = passes[0], _outlook(cell, cell.score_on)[1][1]
    return Planned(cell, "skipped" if reason else "to do", reason, *passes)


def _sized(cell: Cell, budget: Budget) -> tuple[Cell, str]:
    """The cell with the images that the budget allows, and why it must be skipped, or ""."""
    on, classes = cell.explain_on, len(cell.dataset.component.classes)
    few = budget.reduced(on.component)
    reason, passes = _outlook(cell, few)
    if reason:
        return cell, reason
    size = size_of_test(cell.dataset.component)
    counts = few.most(classes, size), on.component.most(classes, size)
    taken = (each.forward + each.backward for each in passes)
    explained, scored = (affords(each, *counts, most) for each, most in zip(taken, budget.most, strict=True))
    if not explained or not scored:
        stage, most = ("scoring", budget.scoring) if explained else ("explaining", budget.explaining)
        return cell, f"{stage} takes too long even on {counts[0]} images: more than budget.{stage}={most} passes for each of {counts[1]}"
    if explained < counts[1]:
        return cell.on(few), ""
    return (replace(cell, score_on=few), "") if scored < counts[1] else (cell, "")


def _outlook(cell: Cell, explain_on: ExplainOn) -> tuple[str, tuple[Passes, Passes]]:
    """Why a cell must be skipped, or "", and the passes of explaining and scoring: from the architecture and the shapes alone."""
    on = cell.dataset.component, cell.model.component, explain_on
    explainer, metric = cell.explainer.component, cell.metric.component
    reason, explaining = _explaining(*on, explainer)
    why, scored = (reason, Passes()) if reason else _scoring(*on, explainer, metric)
    return why, (Passes(), Passes()) if why else (explaining, scored)


@lru_cache(maxsize=100_000)
def _explaining(dataset: Dataset, model: Model, explain_on: ExplainOn, explainer: Explainer) -> tuple[str, Passes]:
    problem = blank(dataset, model, explain_on)
    reason = explainer.unsupported(_block(problem)) or ""
    return reason, Passes() if reason else _in_blocks(problem, explainer.passes)


@lru_cache(maxsize=100_000)
def _scoring(dataset: Dataset, model: Model, explain_on: ExplainOn, explainer: Explainer, metric: Metric) -> tuple[str, Passes]:
    problem = blank(dataset, model, explain_on)
    reason = metric.unsupported(problem if metric.set_level else _block(problem), explainer) or ""
    if reason or metric.set_level:
        return reason, Passes() if reason else metric.passes(problem, explainer)
    return reason, _in_blocks(problem, lambda part: metric.passes(part, explainer))


def _block(problem: Problem) -> Problem:
    """The first images, as many as are looked at together: components may make others of them."""
    return problem.take(next(blocks(problem)))


def _in_blocks(problem: Problem, passes: Callable[[Problem], Passes]) -> Passes:
    """The passes for all images, block by block: blocks of as many blank images take the same."""
    total = Passes()
    for size, count in Counter(min(rows.stop, len(problem.images)) - rows.start for rows in blocks(problem)).items():
        once = passes(problem.take(slice(0, size)))
        total += Passes(count * once.forward, count * once.backward)
    return total


def size_of_test(dataset: Dataset) -> int:
    """How many test images a dataset has, or is taken to have before it is read."""
    return TEST_IMAGES if dataset.test_images is None else dataset.test_images


def size_of_training(dataset: Dataset) -> int:
    """How many training images, likewise."""
    return TRAINING_IMAGES if dataset.train_images is None else dataset.train_images


@lru_cache(maxsize=4)
def blank(dataset: Dataset, model: Model, explain_on: ExplainOn) -> Problem:
    """A problem of the right shapes without content, in the memory of one image."""
    classes, count = len(dataset.classes), explain_on.most(len(dataset.classes), size_of_test(dataset))
    zeros, train = torch.zeros(count, dtype=torch.int64), size_of_training(dataset)
    targets, image = explain_on.classes(zeros, torch.zeros(1, classes).expand(count, -1)), torch.zeros(1, *dataset.shape)
    return Problem(
        model=untrained(model, dataset.shape, classes),
        images=image.expand(count, -1, -1, -1),
        targets=targets,
        labels=zeros,
        index=torch.arange(count),
        background=image.expand(min(explain_on.background, train), -1, -1, -1),
        probabilities=torch.full((1, classes), 1 / classes).expand(count, -1),
        masks=image[:, :1].bool().expand(*targets.shape, -1, -1) if dataset.has_masks else None,
        training_data=Split(image.expand(train, -1, -1, -1), zeros[:1].expand(train)),
    )
