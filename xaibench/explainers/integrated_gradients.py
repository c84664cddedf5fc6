"""Integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from xaibench import gradients
from xaibench.component import PositiveInt
from xaibench.explainers.completeness import difference_passes, output_difference
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class IntegratedGradients(Explainer):
    """What each input value contributes to the change of the output along the straight line from a constant baseline to the image.

    Parameters
    ----------
    steps
        Points of the quadrature.
    baseline
        Intensity of every value of the baseline image; pixels that equal it get exactly 0.
    quadrature
        `gauss_legendre` is exact for polynomials of degree 2 steps - 1; `midpoint` takes equal steps.

    Returns
    -------
    Attributions
        `values`: (B, T, C, H, W), output units, signed. `total`: (B, T), output at the image minus output at the baseline,
        which the values sum to up to the error of the quadrature.

    References
    ----------
    Sundararajan, Taly and Yan, Axiomatic attribution for deep networks, ICML 2017 (arXiv:1703.01365), eq. 1. Differs: eq. 3 sums at the
    right ends of equal steps.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Sundararajan et al., 2017 (arXiv:1703.01365)"
    claims: ClassVar = frozenset({"completeness", "implementation invariance", "linearity", "sensitivity", "symmetry"})

    steps: PositiveInt = 50
    baseline: float = 0.0
    quadrature: Literal["midpoint", "gauss_legendre"] = "gauss_legendre"

    def passes(self, problem: Problem) -> Passes:
        """`steps` forward and backward passes for each (image, target), one forward pass for each image, and one for the baseline."""
        return gradients.gradient_passes(problem, self.steps) + difference_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images = problem.images
        positions, weights = (part.to(images)[:, None, None, None] for part in self._quadrature())

        def on_the_line(row: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
            return torch.lerp(torch.full_like(images[row], self.baseline), images[row], positions[step]), weights[step]

        average = gradients.summed_gradients(problem, self.steps, on_the_line, self.output)
        total = output_difference(problem, torch.full_like(images[:1], self.baseline), self.output)
        return Attributions((images - self.baseline)[:, None] * average, total)

    def _quadrature(self) -> tuple[Tensor, Tensor]:
        """(steps,) positions in (0, 1), and their weights, which sum to 1."""
        if self.quadrature == "midpoint":
            return (torch.arange(self.steps, dtype=torch.float64) + 0.5) / self.steps, torch.full((self.steps,), 1 / self.steps)
        nodes, weights = np.polynomial.legendre.leggauss(self.steps)
        return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)
