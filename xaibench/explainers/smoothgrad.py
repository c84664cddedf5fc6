"""SmoothGrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.explainers.noise_samples import NoiseSamples
from xaibench.problem import Attributions, Family, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Smoothgrad(NoiseSamples):
    """What `of` finds on average in the neighborhood of the image: the mean explanation (by default gradient) under Gaussian noise.

    Returns
    -------
    Attributions
        (B, T, C, H, W), units and sign of `of` (gradient: output units per unit of intensity, signed). No completeness.

    References
    ----------
    Smilkov, Thorat, Kim, Viegas and Wattenberg, SmoothGrad, 2017 (arXiv:1706.03825), section 2.2; noise of 10 to 20 % from section 3.2.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Smilkov et al., 2017 (arXiv:1706.03825)"
    claims: ClassVar = frozenset({"dummy", "implementation invariance", "linearity"})

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return self._mean(problem, rng, 1)
