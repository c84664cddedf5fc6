"""LIME for images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import PositiveFloat, PositiveInt
from xaibench.explainers import coalitions
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.removal import Constant, Removal
from xaibench.seeding import Rng
from xaibench.superpixels import Squares, Superpixels


@dataclass(frozen=True)
class Lime(Explainer):
    """A pixel's superpixel's weight in a linear model of the explained output, fitted to coalitions of superpixels near the whole image.

    The first coalition is the whole image, the others keep each superpixel with probability 1/2. All images and classes share them, and
    so the weighted ridge regression's normal matrix, which is factored once.

    Parameters
    ----------
    superpixels
        How images are divided.
    samples
        Coalitions, the whole image among them.
    width
        Of the exponential kernel exp(-d^2 / (2 width^2)) that weights a coalition by its cosine distance d to the whole image.
    ridge
        Penalty on the squared weights (the intercept has none), against a sum of squared errors over the coalitions.
    removal
        What a pixel of an absent superpixel becomes.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), output units, signed: every pixel has the whole weight of its superpixel. No completeness.

    References
    ----------
    Ribeiro, Singh and Guestrin, "Why should I trust you?", KDD 2016 (arXiv:1602.04938), section 3.4 (algorithm 1); kernel, ridge and the
    number of coalitions are those of the authors' image explainer. Differs: no selection of superpixels, so no sparsity; a logit is
    explained by default, and a probability there; a grid of squares, and quick shift there; absent superpixels turn black, and take their
    mean color there.
    """

    family: ClassVar = Family.PERTURBATION
    paper: ClassVar = "Ribeiro et al., 2016 (arXiv:1602.04938)"
    claims: ClassVar = frozenset({"implementation invariance", "linearity"})

    superpixels: Superpixels = Squares()
    samples: PositiveInt = 1000
    width: PositiveFloat = 0.25
    ridge: PositiveFloat = 1.0
    removal: Removal = Constant()

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        return super().unsupported(problem) or coalitions.unsupported(problem, self.removal)

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image, coalition and draw of the removal; all targets share them."""
        return coalitions.passes(problem, self.superpixels, self.removal, lambda count: self.samples)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        parts = coalitions.groups(problem, self.superpixels)
        maps = []
        for part in parts:
            present = torch.rand(self.samples, part.count, generator=rng.shared()) < 0.5
            present[0] = True
            found = coalitions.combined(part, self.removal, present, self._weights(present.to(torch.float64)), self.output)
            maps.append(coalitions.spread(found, part.regions, equally=False))
        return Attributions(coalitions.merged(maps, parts))

    def _weights(self, present: Tensor) -> Tensor:
        """(S, M): the regression's weights are the outputs (S,) times this."""
        distance = 1 - present.mean(1).sqrt()
        near = torch.exp(-0.5 * (distance / self.width) ** 2)[:, None]
        # The intercept is free, so everything is a deviation from the weighted mean.
        deviation = present - (near * present).sum(0) / near.sum()
        normal = deviation.T @ (near * deviation) + self.ridge * torch.eye(present.shape[1], dtype=present.dtype)
        return torch.linalg.solve(normal, (near * deviation).T).T
