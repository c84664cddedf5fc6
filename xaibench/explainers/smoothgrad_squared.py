"""SmoothGrad-squared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.explainers.noise_samples import NoiseSamples
from xaibench.problem import Attributions, Family, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class SmoothgradSquared(NoiseSamples):
    """How large what `of` finds is in the neighborhood of the image: the mean squared explanation (by default gradient) under noise.

    Returns
    -------
    Attributions
        (B, T, C, H, W), squared units of `of`, not negative. No completeness.

    References
    ----------
    Hooker, Erhan, Kindermans and Kim, A benchmark for interpretability methods in deep neural networks, NeurIPS 2019
    (arXiv:1806.10758), section 4.1 (SG-SQ).
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Hooker et al., 2019 (arXiv:1806.10758)"
    claims: ClassVar = frozenset({"dummy", "implementation invariance"})

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return self._mean(problem, rng, 2)
