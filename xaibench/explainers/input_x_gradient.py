"""Input times gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench import gradients
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class InputXGradient(Explainer):
    """What each input value contributes to the explained output's linearization at the image: value times gradient.

    Returns
    -------
    Attributions
        (B, T, C, H, W), output units, signed; exactly 0 wherever the image is 0. No completeness: they sum to the output
        only where the classifier is linear without bias.

    References
    ----------
    Shrikumar, Greenside, Shcherbina and Kundaje, Not just a black box, 2016 (arXiv:1605.01713), section 3.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Shrikumar et al., 2016 (arXiv:1605.01713)"
    claims: ClassVar = frozenset({"dummy", "implementation invariance", "linearity", "symmetry"})

    def passes(self, problem: Problem) -> Passes:
        """One forward and one backward pass for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return Attributions(gradients.gradient(problem, self.output) * problem.images[:, None])
