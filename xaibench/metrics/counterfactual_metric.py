"""What the metrics share that score counterfactuals, pair by pair."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.problem import Counterfactuals, Family, Problem
from xaibench.scoring import Metric, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Found:
    """The pairs of a problem for which there is a counterfactual, in a row.

    Attributes
    ----------
    originals, counterfactuals
        (n, C, H, W), in [0, 1].
    targets, predicted
        (n,): the class of the counterfactual, and the one that the classifier gives the original.
    row, index
        (n,): the row of the problem's images, and the position in the test set.
    """

    originals: Tensor
    counterfactuals: Tensor
    targets: Tensor
    predicted: Tensor
    row: Tensor
    index: Tensor

    @property
    def changes(self) -> Tensor:
        """(n, C, H, W): counterfactual less original."""
        return self.counterfactuals - self.originals


@dataclass(frozen=True)
class CounterfactualMetric(Metric[Counterfactuals]):
    """Scores each counterfactual that was found; NaN for all other pairs."""

    family: ClassVar[Family] = Family.COUNTERFACTUAL
    version: ClassVar[int] = 1
    scores: ClassVar[type] = Counterfactuals

    @abstractmethod
    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """The scores (n,) by name, `value` among them, of the pairs that were found; there may be none."""

    def __call__(self, problem: Problem, explanation: Counterfactuals, rng: Rng) -> Scores:
        """Score every (image, target)."""
        place = explanation.found.nonzero(as_tuple=True)
        return Scores(
            {name: _placed(values, place, problem) for name, values in self.values(problem, of(problem, explanation), rng).items()}
        )


def of(problem: Problem, explanation: Counterfactuals) -> Found:
    """The pairs that were found.

    Raises
    ------
    ValueError
        If counterfactuals and problem differ in images, targets or shape.
    """
    shape, expected = tuple(explanation.images.shape), (*problem.targets.shape, *problem.images.shape[1:])
    if shape != expected:
        raise ValueError(f"Counterfactuals.images of shape {shape}: expected {expected}, as the problem's images and targets")
    if problem.probabilities is None:
        raise ValueError("Problem.probabilities=None: expected those of the classifier, which tell the predicted class")
    row, column = explanation.found.nonzero(as_tuple=True)
    predicted = problem.probabilities.argmax(1)[row]
    images = explanation.images[row, column]
    return Found(problem.images[row], images, problem.targets[row, column], predicted, row, problem.index[row])


def _placed(values: Tensor, place: tuple[Tensor, ...], problem: Problem) -> Tensor:
    """(B, T), float32: values (n,) at their pairs, NaN elsewhere."""
    scores = torch.full(problem.targets.shape, torch.nan, device=problem.images.device)
    scores[place] = values.to(torch.float32)
    return scores
