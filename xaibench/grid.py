"""The grid: all cells of a study."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, TypeVar

from xaibench.budget import Budget
from xaibench.component import Component
from xaibench.identity import Explaining, evaluate_key
from xaibench.influence.analysis import Influence
from xaibench.problem import Dataset, Explainer, Model, Training
from xaibench.scoring import Metric, mismatch
from xaibench.selection import ExplainOn
from xaibench.training import Trainer

Part = TypeVar("Part", bound=Component)


@dataclass(frozen=True)
class Entry(Generic[Part]):
    """A component under the name that its configuration has."""

    name: str
    component: Part


@dataclass(frozen=True)
class Cell:
    """One (dataset, model, trainer, seed, explainer, metric, draw), on one choice of images; where only some of them are scored, these.

    All cells of one explanation share `explaining`.
    """

    dataset: Entry[Dataset]
    model: Entry[Model]
    trainer: Entry[Trainer]
    seed: int
    explain_on: Entry[ExplainOn]
    explainer: Entry[Explainer]
    metric: Entry[Metric]
    draw: int
    explaining: Explaining
    score_on: ExplainOn | None = None

    @property
    def unsupported(self) -> str:
        """Why the network does not take the dataset's images, or the metric not what the explainer gives, or a helper is not to be had."""
        dataset, explainer, metric = self.dataset.component, self.explainer.component, self.metric.component
        why = self.model.component.unsupported(dataset.shape, len(dataset.classes)) or mismatch(metric, explainer)
        if why or not self.model.component.fixed:
            return why
        needs = [*explainer.needs(self.training).values(), *metric.needs(self.training, explainer).values()]
        return next(filter(None, (_untrainable(helper) for helper in needs if helper != self.training)), "")

    @property
    def training(self) -> Training:
        """The classifier."""
        return self.explaining.training

    def on(self, explain_on: ExplainOn) -> Cell:
        """The cell with another choice of images."""
        explaining = replace(self.explaining, explain_on=explain_on)
        return replace(self, explain_on=Entry(self.explain_on.name, explain_on), explaining=explaining)

    @cached_property
    def key(self) -> str:
        """Key of the cell's scores."""
        return evaluate_key(self.explaining, self.metric.component, self.score_on, self.explaining.key)[0]

    @property
    def name(self) -> str:
        """The explanation's name in messages."""
        names = (self.dataset.name, self.model.name, f"seed {self.seed}", self.explainer.name)
        return " ".join(names) + (f" draw {self.draw}" if self.draw else "")

    def __str__(self) -> str:
        return f"{self.name} {self.metric.name}"


def _untrainable(helper: Training) -> str:
    """Why a network cannot be trained beside one whose weights are given, or ""."""
    if helper.dataset.untrainable:
        return helper.dataset.untrainable
    if helper.origin is None and helper.model.fixed:
        return "needs a second classifier, and this one has the same given weights for all seeds: expected another model for it"
    return "" if helper.fine_tune else helper.model.untrainable


@dataclass(frozen=True)
class Grid:
    """The product of all its axes, what is asked of every classifier beside it, and what a cell may cost.

    Without explainers it is a grid of classifiers.
    """

    datasets: tuple[Entry[Dataset], ...]
    models: tuple[Entry[Model], ...]
    trainers: tuple[Entry[Trainer], ...]
    explain_on: tuple[Entry[ExplainOn], ...]
    explainers: tuple[Entry[Explainer], ...]
    metrics: tuple[Entry[Metric], ...]
    seeds: tuple[int, ...]
    draws: tuple[int, ...] = (0,)
    influences: tuple[Entry[Influence], ...] = ()
    budget: Budget | None = None

    def classifiers(self) -> Iterator[tuple[Entry[Dataset], Entry[Model], Entry[Trainer], int]]:
        """All (dataset, model, trainer, seed) whose network takes the dataset's images."""
        for dataset, model, trainer, seed in itertools.product(self.datasets, self.models, self.trainers, self.seeds):
            if not model.component.unsupported(dataset.component.shape, len(dataset.component.classes)):
                yield dataset, model, trainer, seed

    def trainings(self) -> Iterator[Training]:
        """The same as what is to be trained."""
        for dataset, model, trainer, seed in self.classifiers():
            yield Training(dataset.component, model.component, trainer.component, seed)

    def analyses(self) -> Iterator[tuple[Training, Entry[Influence]]]:
        """Each influence analysis of each classifier."""
        return itertools.product(self.trainings(), self.influences)

    def cells(self) -> Iterator[Cell]:
        """All cells, those of one explanation together."""
        axes = (self.datasets, self.models, self.trainers, self.seeds, self.explain_on, self.explainers, self.draws)
        for dataset, model, trainer, seed, explain_on, explainer, draw in itertools.product(*axes):
            training = Training(dataset.component, model.component, trainer.component, seed)
            explaining = Explaining(training, explain_on.component, explainer.component, draw)
            for metric in self.metrics:
                yield Cell(dataset, model, trainer, seed, explain_on, explainer, metric, draw, explaining)
