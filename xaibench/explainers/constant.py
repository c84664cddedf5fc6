"""The constant control."""

from __future__ import annotations

from dataclasses import dataclass

from xaibench.explainers.control import Control
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Constant(Control):
    """The same relevance everywhere: a control that says nothing, in whose ranking all pixels are tied.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), 1.
    """

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return Attributions(problem.images.new_ones(*problem.targets.shape, 1, *problem.images.shape[-2:]))
