"""Meaningful perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import NonNegativeFloat, PositiveFloat, PositiveInt
from xaibench.explainers import mask_optimization
from xaibench.problem import Attributions, Explainer, Family, Output, Passes, Problem
from xaibench.removal import Blur, Removal
from xaibench.seeding import Rng


@dataclass(frozen=True)
class MeaningfulPerturbation(Explainer):
    """How much of a pixel is deleted by the small, smooth mask that lowers the explained output most.

    For every (image, target), gradient descent on a coarse mask m minimizes: the output under the mask, plus `size` times the sum of
    1 - m, plus `roughness` times the sum of |differences of neighbors in m| ^ `exponent`.

    Parameters
    ----------
    output
        What is lowered; unlike elsewhere the probability unless told otherwise, as the two penalties are weighed against it.
    iterations
        Of Adam. One forward and one backward pass each.
    learning_rate
        Of Adam.
    grid
        Cells along each side of the coarse mask, at most the pixels of that side.
    softness
        Standard deviation, in cells, of the Gaussian that interpolates the coarse mask.
    size, roughness, exponent
        See above.
    removal
        What a wholly deleted pixel becomes; others lie between that and the image.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), in [0, 1]: 1 minus the mask; 1 is deleted, hence relevant. No completeness.

    References
    ----------
    Fong and Vedaldi, Interpretable explanations of black boxes by meaningful perturbation, ICCV 2017 (arXiv:1704.03296), section 4.
    Differs: masks start with everything deleted, the paper's with the smallest disk that deletes enough; the learning rate falls to 0;
    the image is not jittered against the mask.
    """

    family: ClassVar = Family.PERTURBATION
    paper: ClassVar = "Fong and Vedaldi, 2017 (arXiv:1704.03296)"
    claims: ClassVar = frozenset({"implementation invariance"})

    output: Output = "probability"
    iterations: PositiveInt = 300
    learning_rate: PositiveFloat = 0.1
    grid: PositiveInt = 28
    softness: PositiveFloat = 0.6
    size: NonNegativeFloat = 1e-4
    roughness: NonNegativeFloat = 1e-2
    exponent: PositiveFloat = 3.0
    removal: Removal = Blur()

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        return super().unsupported(problem) or mask_optimization.unsupported(problem, self.removal)

    def passes(self, problem: Problem) -> Passes:
        """`iterations` forward and backward passes for each (image, target)."""
        return mask_optimization.passes(problem, self.iterations)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        down, across = (self._interpolation(distances) for distances in mask_optimization.distances(problem, self.grid))
        start = torch.zeros(1, down.shape[1], across.shape[1])

        def render(coarse: Tensor) -> Tensor:
            return down @ coarse @ across.T

        masks = mask_optimization.optimized(
            problem, self.removal, self.output, start, render, self._loss, self.iterations, self.learning_rate
        )
        return Attributions(1 - masks)

    def _loss(self, outputs: Tensor, coarse: Tensor, masks: Tensor, variants: Tensor, iteration: int) -> Tensor:
        down, across = (coarse.diff(dim=dim).abs().pow(self.exponent).sum((1, 2)) for dim in (1, 2))
        return outputs + self.size * (1 - coarse).sum((1, 2)) + self.roughness * (down + across)

    def _interpolation(self, distances: Tensor) -> Tensor:
        """(pixels, cells): weights that sum to 1 for every pixel."""
        weights = torch.softmax(-0.5 * (distances / self.softness) ** 2, dim=1)
        # Numbers too small for float32's normal range would make the products several times slower.
        return torch.where(weights < 1e-9, 0.0, weights)
