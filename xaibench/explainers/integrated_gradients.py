"""Integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from xaibench import gradients
from xaibench.baselines import Baseline, Constant
from xaibench.component import PositiveInt
from xaibench.explainers.completeness import baseline_difference, baseline_passes
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class IntegratedGradients(Explainer):
    """What each input value contributes to the change of the output along the straight line from a baseline to the image.

    Sensitivity and symmetry hold for the baselines that are constant over the image; all other claims hold for every baseline.

    Parameters
    ----------
    steps
        Points of the quadrature.
    baseline
        The image where the line starts; values that equal it get exactly 0. Where an image has several, their lines are averaged.
    quadrature
        `gauss_legendre` is exact for polynomials of degree 2 steps - 1; `midpoint` takes equal steps.

    Returns
    -------
    Attributions
        `values`: (B, T, C, H, W), output units, signed. `total`: (B, T), output at the image minus (mean) output at the baselines,
        which the values sum to up to the error of the quadrature.

    References
    ----------
    Sundararajan, Taly and Yan, Axiomatic attribution for deep networks, ICML 2017 (arXiv:1703.01365), eq. 1. Differs: eq. 3 sums at the
    right ends of equal steps. Baselines: Sturmfels, Lundberg and Lee, Visualizing the impact of feature attribution baselines,
    Distill 2020 (doi:10.23915/distill.00022).
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Sundararajan et al., 2017 (arXiv:1703.01365)"
    claims: ClassVar = frozenset({"completeness", "dummy", "implementation invariance", "linearity", "sensitivity", "symmetry"})

    steps: PositiveInt = 50
    baseline: Baseline = Constant()
    quadrature: Literal["midpoint", "gauss_legendre"] = "gauss_legendre"

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        return super().unsupported(problem) or self.baseline.unsupported(problem)

    def passes(self, problem: Problem) -> Passes:
        """For each baseline of an image `steps` passes forward, and back for each target; one forward for each image and baseline."""
        points = self.steps * self.baseline.draws(problem)
        return gradients.gradient_passes(problem, points) + baseline_passes(problem, self.baseline)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images, draws = problem.images, self.baseline.draws(problem)
        positions, weights = (part.to(images)[:, None, None, None] for part in self._quadrature())
        weights = weights / draws

        def on_the_line(row: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
            step = sample % self.steps
            # A line has many points in a chunk, and its ends are made once.
            line, place = torch.unique_consecutive(row * draws + sample // self.steps, return_inverse=True)
            start = self.baseline(problem, rng, line // draws, line % draws)
            change = (images[line // draws] - start)[place]
            return torch.addcmul(start[place], positions[step], change), change.mul_(weights[step])

        values = gradients.summed_gradients(problem, draws * self.steps, on_the_line, self.output)
        return Attributions(values, baseline_difference(problem, rng, self.baseline, self.output))

    def _quadrature(self) -> tuple[Tensor, Tensor]:
        """(steps,) positions in (0, 1), and their weights, which sum to 1."""
        if self.quadrature == "midpoint":
            return (torch.arange(self.steps, dtype=torch.float64) + 0.5) / self.steps, torch.full((self.steps,), 1 / self.steps)
        nodes, weights = np.polynomial.legendre.leggauss(self.steps)
        return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)
