"""Blur integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import gradients
from xaibench.baselines import blurred
from xaibench.component import PositiveFloat, PositiveInt
from xaibench.explainers.completeness import own_difference, own_passes
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng

SHARPEST = 1e-3
"""In pixels: a Gaussian this narrow leaves an image exactly as it is, and its exponent is still finite."""


@dataclass(frozen=True)
class BlurIntegratedGradients(Explainer):
    """What each input value contributes to the change of the output as the image gets sharp, from a Gaussian blur to itself.

    Parameters
    ----------
    steps
        Pieces of the path.
    max_sigma
        Standard deviation in pixels of the blur where the path starts. What lies beyond the border has no weight (the others' weights
        are scaled to sum to 1), so a blur much wider than the image leaves its mean, and a constant image stays as it is.

    Returns
    -------
    Attributions
        `values`: (B, T, C, H, W), output units, signed. `total`: (B, T), output at the image minus output at its widest blur,
        which the values sum to up to the error of the path's pieces (none where the output is quadratic in the input).

    References
    ----------
    Xu, Venugopalan and Sundararajan, Attribution in scale and space, CVPR 2020 (arXiv:2004.03383), section 3. Differs: standard
    deviations lie as the cubes of equal steps, closest together where the image changes most (the integral does not depend on that);
    each piece of the path counts as a straight line, with the gradient at its middle.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Xu et al., 2020 (arXiv:2004.03383)"
    claims: ClassVar = frozenset({"completeness", "dummy", "implementation invariance", "linearity"})

    steps: PositiveInt = 100
    max_sigma: PositiveFloat = 50.0

    def passes(self, problem: Problem) -> Passes:
        """`steps` passes forward for each image, and back for each target; two forward for each image."""
        return gradients.gradient_passes(problem, self.steps) + own_passes(problem)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images, nodes = problem.images, self.steps + 1
        rows, columns = (self._weights(size, images) for size in images.shape[-2:])

        def on_the_path(row: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
            # A piece ends where the next one starts: each blurred image is made once.
            sharper = row * nodes + step
            node, place = torch.unique(torch.cat([sharper, sharper + 1]), return_inverse=True)
            scale = node % nodes
            path = rows[scale, None] @ images[node // nodes] @ columns[scale, None].mT
            start, end = path[place[len(row) :]], path[place[: len(row)]]
            return torch.lerp(start, end, 0.5), end - start

        values = gradients.summed_gradients(problem, self.steps, on_the_path, self.output)
        total = own_difference(problem, lambda row, _: blurred(images[row], self.max_sigma, problem), self.output)
        return Attributions(values, total)

    def _weights(self, size: int, like: Tensor) -> Tensor:
        """(steps + 1, size, size): row i holds the weights that make the blurred pixel i of a line, from no blur to the widest."""
        sigma = self.max_sigma * torch.linspace(0, 1, self.steps + 1, device=like.device, dtype=like.dtype) ** 3
        place = torch.arange(size, device=like.device, dtype=like.dtype)
        distance = (place[:, None] - place) / sigma.clamp(min=SHARPEST)[:, None, None]
        return torch.softmax(-0.5 * distance**2, dim=-1)
