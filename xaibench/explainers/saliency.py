"""The absolute gradient of the explained output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench import gradients
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Saliency(Explainer):
    """How strongly the explained output reacts to each input value, in either direction: its absolute gradient at the image.

    Returns
    -------
    Attributions
        (B, T, C, H, W), output units per unit of intensity, not negative: the absolute value is part of the definition. No completeness.

    References
    ----------
    Simonyan, Vedaldi and Zisserman, Deep inside convolutional networks, 2014 (arXiv:1312.6034), section 3. Differs: the maximum over
    channels is left to the metric or figure that pools them.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Simonyan et al., 2014 (arXiv:1312.6034)"
    claims: ClassVar = frozenset({"dummy", "implementation invariance", "symmetry"})

    def passes(self, problem: Problem) -> Passes:
        """One forward and one backward pass for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return Attributions(gradients.gradient(problem, self.output).abs())
