"""The constant control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Constant(Explainer):
    """The same relevance everywhere: a control that says nothing, in whose ranking all pixels are tied.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), 1.
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
        return Attributions(problem.images.new_ones(*problem.targets.shape, 1, *problem.images.shape[-2:]))
