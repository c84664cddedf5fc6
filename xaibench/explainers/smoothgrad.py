"""SmoothGrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench import gradients
from xaibench.component import PositiveFloat, PositiveInt
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Smoothgrad(Explainer):
    """How the explained output changes with each input value in the neighborhood of the image: the mean gradient under Gaussian noise.

    Parameters
    ----------
    samples
        Noisy copies of each image; all targets of an image see the same ones.
    noise
        Standard deviation of the noise, as a fraction of the image's own range (maximum minus minimum). Noisy copies are not clipped.

    Returns
    -------
    Attributions
        (B, T, C, H, W), output units per unit of intensity, signed. No completeness.

    References
    ----------
    Smilkov, Thorat, Kim, Viegas and Wattenberg, SmoothGrad, 2017 (arXiv:1706.03825), section 2.2; noise of 10 to 20 % from section 3.2.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Smilkov et al., 2017 (arXiv:1706.03825)"
    claims: ClassVar = frozenset({"implementation invariance", "linearity"})

    samples: PositiveInt = 50
    noise: PositiveFloat = 0.15

    def passes(self, problem: Problem) -> Passes:
        """`samples` forward and backward passes for each (image, target)."""
        return gradients.gradient_passes(problem, self.samples)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images = problem.images
        deviation = self.noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))

        def noisy(row: Tensor, sample: Tensor) -> tuple[Tensor, float]:
            normal = rng.each(problem.index[row], sample).normal(*images.shape[1:])
            return images[row] + deviation[row] * normal, 1 / self.samples

        return Attributions(gradients.summed_gradients(problem, self.samples, noisy, self.output))
