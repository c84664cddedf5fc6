"""The gradient of the explained output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench import gradients
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Gradient(Explainer):
    """How much the explained output changes with each input value: its signed gradient at the image.

    Returns
    -------
    Attributions
        (B, T, C, H, W), output units per unit of intensity, signed. No completeness.

    References
    ----------
    Simonyan, Vedaldi and Zisserman, Deep inside convolutional networks, 2014 (arXiv:1312.6034), eq. 4. Differs: the sign is kept, and
    channels are not pooled; `Saliency` is its absolute value.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Simonyan et al., 2014 (arXiv:1312.6034)"
    claims: ClassVar = frozenset({"dummy", "implementation invariance", "linearity", "symmetry"})

    def passes(self, problem: Problem) -> Passes:
        """One forward and one backward pass for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return Attributions(gradients.gradient(problem, self.output))
