"""Metrics: what they are, and calling one on any number of images in bounded memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Generic

import torch
from torch import Tensor

from xaibench.component import Component
from xaibench.explaining import blocks
from xaibench.problem import Attributions, Counterfactuals, Explainer, Family, Kind, Passes, Problem, Training
from xaibench.seeding import Rng

VERSION = 1


class Requires(str, Enum):
    """What a metric needs beside the map."""

    MODEL = "model"
    EXPLAINER = "re-explanation"
    MASKS = "true masks"
    TRAINING = "training"


@dataclass(frozen=True)
class Scores:
    """One number per image and target for each name; `value` is the headline.

    Attributes
    ----------
    values
        Name -> (B, T). NaN where the score is not defined.
    curves
        Name -> (B, T, S + 1), over `fractions`.
    fractions
        (S + 1,), from 0 to 1: the horizontal axis of all curves.
    """

    values: Mapping[str, Tensor]
    curves: Mapping[str, Tensor] = field(default_factory=dict)
    fractions: Tensor | None = None


@dataclass(frozen=True)
class Metric(Component, Generic[Kind]):
    """Scores explanations, one number per (image, target).

    Attributes
    ----------
    family, higher_is_better, version, paper
        Of the class: its family, its direction (None where neither is better), a number raised with its definition, and its paper.
    scores
        Of the class: the kind of explanation that it scores.
    requires
        Of the class: what it needs beside the map.
    exact_passes
        Of the class: whether `passes` is exact, or, where the passes depend on what was found, an upper bound.
    set_level
        Of the class: whether an image's score depends, by definition, on the other images; such a metric gets all of them at once.
    """

    family: ClassVar[Family]
    higher_is_better: ClassVar[bool | None]
    version: ClassVar[int]
    paper: ClassVar[str] = ""
    scores: ClassVar[type] = Attributions
    requires: ClassVar[frozenset[Requires]] = frozenset()
    exact_passes: ClassVar[bool] = True
    set_level: ClassVar[bool] = False

    def needs(self, training: Training, explainer: Explainer[Kind]) -> Mapping[str, Training]:
        """Trained helpers by name, for explanations of this classifier by this explainer."""
        return {}

    def unsupported(self, problem: Problem, explainer: Explainer[Kind]) -> str | None:
        """Why the explanations of this explainer cannot be scored, or None."""
        if problem.model is None and self.requires - {Requires.MASKS}:
            return "needs a model, and only predictions are known"
        if problem.masks is None and Requires.MASKS in self.requires:
            return "needs true masks, and the dataset has none"
        return None

    def passes(self, problem: Problem, explainer: Explainer[Kind]) -> Passes:
        """The forward and backward passes through the classifier, or a copy of it, that the call will take; none by default."""
        return Passes()

    @abstractmethod
    def __call__(self, problem: Problem, explanation: Kind, rng: Rng) -> Scores:
        """Score every (image, target)."""


def unsupported(metric: Metric[Any], explainer: Explainer[Any], problem: Problem) -> str | None:
    """Why this metric cannot score the explanations that this explainer gives of a problem, or None."""
    return mismatch(metric, explainer) or explainer.unsupported(problem) or metric.unsupported(problem, explainer)


def mismatch(metric: Metric[Any], explainer: Explainer[Any]) -> str:
    """Why this metric cannot score what this explainer gives, or ""."""
    same = metric.scores is explainer.gives
    return "" if same else f"scores {metric.scores.__name__.lower()}, and the explainer gives {explainer.gives.__name__.lower()}"


def scored(metric: Metric[Any], problem: Problem, explanation: Attributions | Counterfactuals, rng: Rng) -> Scores:
    """The scores of all images, block by block, unless the metric looks at all of them at once by definition."""
    found = [metric(problem.take(rows), explanation.take(rows), rng) for rows in _parts(metric, problem)]
    if not found:
        raise ValueError("Problem.images: expected at least one image")
    values = {name: torch.cat([part.values[name] for part in found]) for name in found[0].values}
    curves = {name: torch.cat([part.curves[name] for part in found]) for name in found[0].curves}
    return Scores(values, curves, found[0].fractions)


def declared_passes(metric: Metric[Any], problem: Problem, explainer: Explainer[Any]) -> Passes:
    """The passes that `scored` will take."""
    return sum((metric.passes(problem.take(rows), explainer) for rows in _parts(metric, problem)), Passes())


def _parts(metric: Metric[Any], problem: Problem) -> Iterator[slice]:
    return iter([slice(None)]) if metric.set_level else blocks(problem)
