"""Extremal perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import annotated_types
import torch
from torch import Tensor

from xaibench.component import ConfigurationError, PositiveFloat, PositiveInt
from xaibench.explainers import mask_optimization
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.removal import Blur, Removal
from xaibench.seeding import Rng

TEMPERATURE = 1 / 20
"""Of the smooth maximum, in units of the mask."""

Area = Annotated[float, annotated_types.Gt(0), annotated_types.Lt(1)]


@dataclass(frozen=True)
class ExtremalPerturbation(Explainer):
    """In how many of the masks of fixed area that each preserve most of the explained output a pixel is kept.

    For every (image, target, area a), gradient ascent on a coarse mask maximizes the output under the mask m, minus a weight times the
    mean squared difference between m's sorted values and a template that is 1 for the fraction a of largest values and 0 for the others.
    The mask of the image's size is a smooth maximum over the coarse cells, each times a flat-topped kernel.

    Parameters
    ----------
    areas
        Fractions of the image, between 0 and 1.
    iterations
        Of Adam. For each area one forward and one backward pass each.
    learning_rate
        Of Adam.
    first_weight, last_weight
        Of the area's constraint in the first and in the last iteration, in output units; in between it grows geometrically.
    grid
        Cells along each side of the coarse mask, at most the pixels of that side.
    softness
        Standard deviation, in cells, of the kernel's Gaussian flanks. Its top is as wide as a cell.
    removal
        What a wholly removed pixel becomes; others lie between that and the image.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), from 0 to the number of areas: the sum of the masks. No completeness.

    Raises
    ------
    ConfigurationError
        If there are no `areas`.

    References
    ----------
    Fong, Patrick and Vedaldi, Understanding deep networks via extremal perturbations and smooth masks, ICCV 2019 (arXiv:1910.08485),
    section 3; areas as in its pointing game. Differs: the kernel is a product of one for rows and one for columns, with a smooth maximum
    over each in turn, where the paper's is round. Adam from a constant start, where the paper has gradient ascent with momentum: Adam's
    steps do not shrink with the gradient, so the constraint must grow from next to nothing, or it would choose the area before the
    classifier has a say. The sum of masks is not smoothed again.
    """

    family: ClassVar = Family.PERTURBATION
    paper: ClassVar = "Fong et al., 2019 (arXiv:1910.08485)"
    claims: ClassVar = frozenset({"implementation invariance"})

    areas: tuple[Area, ...] = (0.025, 0.05, 0.1, 0.2)
    iterations: PositiveInt = 200
    learning_rate: PositiveFloat = 0.1
    first_weight: PositiveFloat = 1.0
    last_weight: PositiveFloat = 1e4
    grid: PositiveInt = 7
    softness: PositiveFloat = 0.5
    removal: Removal = Blur()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.areas:
            raise ConfigurationError("ExtremalPerturbation.areas=(): expected at least one fraction")

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        return super().unsupported(problem) or mask_optimization.unsupported(problem, self.removal)

    def passes(self, problem: Problem) -> Passes:
        """`iterations` forward and backward passes for each (image, target, area)."""
        return mask_optimization.passes(problem, self.iterations, len(self.areas))

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        down, across = (self._kernel(distances) for distances in mask_optimization.distances(problem, self.grid))
        start = torch.full((len(self.areas), down.shape[1], across.shape[1]), 0.5)
        pixels = len(down) * len(across)
        kept = torch.tensor([round(area * pixels) for area in self.areas])
        templates = (torch.arange(pixels) < kept[:, None]).to(problem.images)

        def render(coarse: Tensor) -> Tensor:
            rows = _smooth_maximum(down.T[:, :, None] * coarse[:, :, None])
            return _smooth_maximum(across.T[:, None] * rows.transpose(1, 2)[..., None])

        def loss(outputs: Tensor, coarse: Tensor, masks: Tensor, variants: Tensor, iteration: int) -> Tensor:
            ordered = masks.flatten(1).sort(dim=1, descending=True, stable=True).values
            weight = self.first_weight * (self.last_weight / self.first_weight) ** (iteration / max(self.iterations - 1, 1))
            return weight * (ordered - templates[variants]).square().mean(1) - outputs

        masks = mask_optimization.optimized(problem, self.removal, self.output, start, render, loss, self.iterations, self.learning_rate)
        return Attributions(masks.sum(2, keepdim=True))

    def _kernel(self, distances: Tensor) -> Tensor:
        """(pixels, cells), in [0, 1]: 1 within the cell."""
        beyond = (distances.abs() - 0.5).clamp(min=0)
        return torch.exp(-0.5 * (beyond / self.softness) ** 2)


def _smooth_maximum(values: Tensor) -> Tensor:
    """Over the second axis, for values in [0, 1]. An exponential of so small numbers needs no shift, and torch.softmax is much slower."""
    powers = torch.exp(values / TEMPERATURE)
    return (values * powers).sum(1) / powers.sum(1)
