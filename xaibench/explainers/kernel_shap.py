"""Kernel SHAP on superpixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.adapters import shap as shap_adapter
from xaibench.component import PositiveInt
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem, select
from xaibench.seeding import Rng


@dataclass(frozen=True)
class KernelShap(Explainer):
    """Each pixel's equal share of its superpixel's Shapley value, in the game of replacing superpixels by a constant.

    shap's KernelExplainer without regularization, image by image, seeded by the image's position in the test set. Superpixels are the
    squares of a grid; all channels of a pixel go together.

    Parameters
    ----------
    patch
        Side of a superpixel. Where it does not divide the image the last row and column of superpixels are smaller.
    samples
        Coalitions for each image, the empty and the full one apart. Where it reaches half of all 2^M - 2 coalitions of M
        superpixels, all of them are taken and the values are exact.
    baseline
        Intensity that replaces an absent superpixel.

    Returns
    -------
    Attributions
        `values`: (B, T, 1, H, W), output units, signed. `total`: (B, T), output at the image minus output at the baseline,
        which the values sum to by construction.

    References
    ----------
    Lundberg and Lee, A unified approach to interpreting model predictions, NIPS 2017 (arXiv:1705.07874), theorem 2.
    """

    family: ClassVar = Family.SHAPLEY
    paper: ClassVar = "Lundberg and Lee, 2017 (arXiv:1705.07874)"
    claims: ClassVar = frozenset({"completeness", "implementation invariance", "linearity", "sensitivity", "symmetry"})

    patch: PositiveInt = 4
    samples: PositiveInt = 2048
    baseline: float = 0.0

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: M superpixels need 2 (M - 1) (1 + 1/2 + ... + 1/(M - 1)) coalitions, or all."""
        count = self._superpixels(problem)
        # From here on shap takes all single superpixels and their complements, which makes the least-squares problem regular. Far below
        # it is singular or, unnoticed by shap, close to it: with 2 M coalitions, errors up to 1e17 on a linear game.
        needed = math.ceil(2 * (count - 1) * sum(1 / size for size in range(1, count)))
        if self._coalitions(problem) < min(needed, 2**count - 2):
            return f"{count} superpixels need at least {needed} coalitions: raise samples={self.samples} or patch={self.patch}"
        return super().unsupported(problem)

    def passes(self, problem: Problem) -> Passes:
        """For each image: the coalitions, the image and the baseline, forward; all targets share them."""
        return Passes(forward=len(problem.images) * (self._coalitions(problem) + 2))

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        grid = self._grid(problem)
        seeds = rng.each(problem.index).integers(2**32).tolist()
        found = [self._explain(problem.take(slice(row, row + 1)), grid, seed) for row, seed in enumerate(seeds)]
        values, totals = (torch.stack(part).to(grid.device) for part in zip(*found, strict=True))
        shares = values / grid.flatten().bincount()
        return Attributions(shares[:, :, None, grid].to(torch.float32), totals.to(torch.float32))

    def _explain(self, problem: Problem, grid: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """(T, M) Shapley values and (T,) total of a problem with one image."""

        def value(coalitions: Tensor) -> Tensor:
            present = coalitions.to(grid.device)

            def make(position: Tensor) -> Tensor:
                return torch.where(present[position][:, None, grid], problem.images, self.baseline)

            logits = perturb.logits(problem, len(present), make)
            return select(logits, problem.targets.expand(len(present), -1), self.output)

        return shap_adapter.kernel_shap(value, self._superpixels(problem), self._coalitions(problem), seed)

    def _grid(self, problem: Problem) -> Tensor:
        """(H, W): the number of each pixel's superpixel."""
        height, width = problem.images.shape[-2:]
        row = torch.arange(height, device=problem.images.device) // self.patch
        column = torch.arange(width, device=problem.images.device) // self.patch
        return row[:, None] * (column[-1] + 1) + column

    def _superpixels(self, problem: Problem) -> int:
        height, width = problem.images.shape[-2:]
        return -(-height // self.patch) * -(-width // self.patch)

    def _coalitions(self, problem: Problem) -> int:
        """How many are evaluated: from half of all on, all, since shap's rejection sampling may fall short of a number close to all."""
        every = 2 ** self._superpixels(problem) - 2
        return every if 2 * self.samples >= every else self.samples
