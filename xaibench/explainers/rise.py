"""RISE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import annotated_types
import torch
from torch import Tensor
from torch.nn import functional

from xaibench import perturb
from xaibench.component import PositiveInt
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng

MASK_VALUES = 2**24
"""How many pixels of masks are held at once."""


@dataclass(frozen=True)
class Rise(Explainer):
    """The mean explained output when a pixel is seen, among smooth random masks that darken the rest of the image.

    All images and classes share the masks.

    Parameters
    ----------
    masks
        How many; the paper has 4000 for VGG16, 8000 for ResNet50.
    grid
        Cells along each side of the random binary grid that is upsampled, at most the pixels of that side.
    probability
        With which a cell is seen.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), output units: a weighted mean of outputs, not a difference, so its level says nothing; for probabilities it is not
        negative. No completeness.

    References
    ----------
    Petsiuk, Das and Saenko, RISE, BMVC 2018 (arXiv:1806.07421), equation 6, masks from section 3.2, where the expected mask is
    `probability` at every pixel. Differs: a logit is explained by default, and a probability there; cells are rounded up to whole
    pixels, as in the authors' code, since rounded down they do not cover the image.
    """

    family: ClassVar = Family.PERTURBATION
    paper: ClassVar = "Petsiuk et al., 2018 (arXiv:1806.07421)"
    claims: ClassVar = frozenset({"implementation invariance", "linearity"})

    masks: PositiveInt = 2000
    grid: PositiveInt = 7
    probability: Annotated[float, annotated_types.Gt(0), annotated_types.Lt(1)] = 0.5

    def passes(self, problem: Problem) -> Passes:
        """`masks` forward passes for each image; all targets share them."""
        return Passes(forward=len(problem.images) * self.masks)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        (height, width), device = problem.images.shape[-2:], problem.images.device
        rows, columns = self._crops(height), self._crops(width)
        draws = rng.shared()
        seen = torch.rand(self.masks, rows.shape[2], columns.shape[2], generator=draws) < self.probability
        top, left = (torch.randint(len(crops), (self.masks,), generator=draws).to(device) for crops in (rows, columns))
        rows, columns, seen = rows.to(device), columns.to(device), seen.to(device, torch.float32)
        total = torch.zeros(*problem.targets.shape, height * width, dtype=torch.float64, device=device)
        for block in torch.arange(self.masks, device=device).split(max(1, MASK_VALUES // (height * width))):
            total += self._weighted(problem, rows[top[block]] @ seen[block] @ columns[left[block]].transpose(1, 2))
        values = total / (self.probability * self.masks)
        return Attributions(values.to(torch.float32).unflatten(2, (1, height, width)))

    def _weighted(self, problem: Problem, masks: Tensor) -> Tensor:
        """(B, T, H W): the sum over masks of mask times output."""

        def alter(row: Tensor, sample: Tensor) -> Tensor:
            return problem.images.index_select(0, row) * masks.index_select(0, sample)[:, None]

        return perturb.combined(problem, len(masks), alter, masks.flatten(1), self.output)

    def _crops(self, size: int) -> Tensor:
        """(cell, size, grid): how much of each cell a pixel along an axis takes, for each shift below a cell's pixels."""
        grid = min(self.grid, size)
        cell = -(-size // grid)
        upsampled = functional.interpolate(torch.eye(grid)[None], (grid + 1) * cell, mode="linear")[0]
        return upsampled.unfold(1, size, 1)[:, :cell].permute(1, 2, 0)
