"""The random control."""

from __future__ import annotations

from dataclasses import dataclass

from xaibench.explainers.control import Control
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Random(Control):
    """Uniform random relevance: a control that ignores the classifier and the image.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), uniform on (0, 1), independent over pixels, images and targets; the same for an (image, target) whichever
        other targets are asked for.
    """

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        batch, targets = problem.targets.shape
        each = rng.each(problem.index.repeat_interleave(targets), problem.targets.flatten())
        return Attributions(each.uniform(1, *problem.images.shape[-2:]).unflatten(0, (batch, targets)))
