"""What the robustness metrics share: copies of each image that differ little from it are explained, and the maps are compared."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import PositiveFloat, PositiveInt
from xaibench.metrics import reexplanation
from xaibench.metrics.reexplanation import Copies
from xaibench.perturb import Alter
from xaibench.problem import Explainer, Explanation, Family, Passes, Problem
from xaibench.scoring import Metric, Requires, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Robustness(Metric):
    """How the attributions of copies differ from those of the image; the class that is explained stays that of the image."""

    family: ClassVar[Family] = Family.ROBUSTNESS
    higher_is_better: ClassVar[bool | None] = False
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL, Requires.EXPLAINER})

    @property
    @abstractmethod
    def copies(self) -> int:
        """Copies of each image."""

    @abstractmethod
    def alter(self, problem: Problem, rng: Rng) -> Alter:
        """Makes the copies; see `reexplanation.copies`."""

    @abstractmethod
    def score(self, problem: Problem, copies: Copies) -> Tensor:
        """(n, T) for the n images whose copies are given."""

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """Those of the explainer on all copies."""
        return reexplanation.passes(problem, explainer, self.copies)

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        found = reexplanation.scores(problem, explanation, self.copies, self.alter(problem, rng), partial(self.score, problem))
        return Scores({"value": torch.where(found.isinf(), torch.nan, found).to(torch.float32)})


@dataclass(frozen=True)
class Ball(Robustness):
    """Copies drawn uniformly from the L_inf ball around the image, for each image independently.

    Parameters
    ----------
    samples
        Copies of each image; all its targets see the same ones.
    radius
        Of the ball: the largest change of a pixel's intensity.
    clip
        Whether copies are clipped to [0, 1]. The papers do not say that they are.
    """

    samples: PositiveInt = 10
    radius: PositiveFloat = 0.1
    clip: bool = False

    @property
    def copies(self) -> int:
        """Copies of each image."""
        return self.samples

    def alter(self, problem: Problem, rng: Rng) -> Alter:
        """Adds uniform noise."""
        values = problem.images[0].numel()

        def noisy(rows: Tensor, samples: Tensor) -> Tensor:
            # Two values of each 64 random bits: int32 are uniform on [-2^31, 2^31).
            bits = rng.each(problem.index[rows], samples).bits(-(-values // 2)).view(torch.int32)[:, :values]
            noise = bits.to(torch.float32).mul_(self.radius / 2**31).reshape(len(rows), *problem.images.shape[1:])
            found = noise.add_(problem.images[rows])
            return found.clamp_(0, 1) if self.clip else found

        return noisy


def norm(values: Tensor, order: int = 2) -> Tensor:
    """(n, S, T), float64: the norm of maps (n, S, T, C or 1, H, W) over channels and pixels; tiny values do not vanish when squared."""
    return torch.linalg.vector_norm(values.flatten(3), ord=order, dim=3, dtype=torch.float64)


def length(values: Tensor, order: int = 2) -> Tensor:
    """(n, S, 1), float64: the norm of whatever stands in (n, S, ...)."""
    return torch.linalg.vector_norm(values.flatten(2), ord=order, dim=2, dtype=torch.float64)[..., None]


def largest(ratios: Tensor, counted: Tensor) -> Tensor:
    """(n, T): the largest of the ratios (n, S, T) of the copies that count (n, S); NaN where one of them is NaN, or none counts."""
    found = ratios.masked_fill(~counted[..., None], -torch.inf).amax(1)
    return found.masked_fill(~counted.any(1, keepdim=True), torch.nan)
