"""The Gaussian-random control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class GaussianRandom(Explainer):
    """Standard normal relevance: a control that ignores the classifier and the image, with values of both signs.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), independent over pixels, images and targets; the same for an (image, target) whichever other targets are
        asked for.
    """

    family: ClassVar = Family.CONTROL

    def unsupported(self, problem: Problem) -> str | None:
        """Never: a control needs no model."""
        return None

    def passes(self, problem: Problem) -> Passes:
        """None."""
        return Passes()

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        batch, targets = problem.targets.shape
        each = rng.each(problem.index.repeat_interleave(targets), problem.targets.flatten())
        return Attributions(each.normal(1, *problem.images.shape[-2:]).unflatten(0, (batch, targets)))
