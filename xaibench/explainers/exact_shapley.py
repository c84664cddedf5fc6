"""Exact Shapley values of superpixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.explainers import coalitions
from xaibench.explainers.coalitions import Design
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.removal import Constant, Removal
from xaibench.seeding import Rng
from xaibench.superpixels import Squares, Superpixels

LARGEST = 16
"""Superpixels for which all coalitions are evaluated."""


@dataclass(frozen=True)
class ExactShapley(Explainer):
    """Each pixel's equal share of its superpixel's Shapley value, from all 2^M coalitions of M superpixels.

    A Shapley value is the mean rise of the explained output when the superpixel is added to those before it in a random order.

    Parameters
    ----------
    superpixels
        At most 16 for each image.
    removal
        What an absent superpixel becomes. Over several draws of it outputs are averaged.

    Returns
    -------
    Attributions
        `values`: (B, T, 1, H, W), output units, signed. `total`: (B, T), output with all superpixels minus output with none, which the
        values sum to.

    References
    ----------
    Shapley, A value for n-person games, 1953; for classifiers Lundberg and Lee, NIPS 2017 (arXiv:1705.07874), eq. 8.
    """

    family: ClassVar = Family.SHAPLEY
    paper: ClassVar = "Shapley, 1953"
    claims: ClassVar = frozenset({"completeness", "dummy", "implementation invariance", "linearity", "sensitivity", "symmetry"})

    superpixels: Superpixels = Squares(side=4)
    removal: Removal = Constant()

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: 2^M coalitions are too many above 16 superpixels."""
        reason = super().unsupported(problem) or coalitions.unsupported(problem, self.removal)
        if reason is not None:
            return reason
        count = max(part.count for part in coalitions.groups(problem, self.superpixels))
        return None if count <= LARGEST else f"{count} superpixels have 2^{count} coalitions: take at most {LARGEST} superpixels"

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image and coalition; all targets share them."""
        return coalitions.passes(problem, self.superpixels, self.removal, lambda count: 2**count)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return coalitions.explain(
            coalitions.changing(problem, self.superpixels, self.removal), self.removal, lambda part: all_coalitions(part.count), self.output
        )


def all_coalitions(count: int) -> Design:
    """Every coalition, and the weights of the definition: 1 / (M C(M - 1, s)) for what is added to s others."""
    number = torch.arange(2**count)
    number[1:] = number[1:].roll(1)
    present = number[:, None] >> torch.arange(count) & 1 == 1
    by_size = torch.tensor([1 / (count * math.comb(count - 1, size)) for size in range(count)], dtype=torch.float64)
    return Design(present, _added_or_not(present, by_size))


def _added_or_not(present: Tensor, by_size: Tensor) -> Tensor:
    """(S, M): + the weight of the others' number where a superpixel is present, - where it is not."""
    others = present.sum(1, keepdim=True) - present.to(torch.int64)
    return torch.where(present, 1.0, -1.0).to(torch.float64) * by_size[others.clamp(max=len(by_size) - 1)]
