"""Shapley values from sampled permutations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xaibench.component import PositiveInt
from xaibench.explainers import coalitions
from xaibench.explainers.coalitions import Design
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.removal import Constant, Removal
from xaibench.seeding import Rng
from xaibench.superpixels import Squares, Superpixels


@dataclass(frozen=True)
class PermutationShapley(Explainer):
    """Each pixel's equal share of its superpixel's Shapley value, estimated without bias from random orders and their reverses.

    In each order the superpixels are added one by one; a superpixel's estimate is the mean rise of the explained output when it is
    added. All images share the orders. Superpixels that the removal does not change get 0 without being evaluated.

    Parameters
    ----------
    samples
        Evaluations for each image, the empty and the full coalition apart. Of M superpixels as many orders are drawn as fit, 2 (M - 1)
        evaluations for an order and its reverse, and at least one.
    superpixels
        What is added as a whole.
    removal
        What an absent superpixel becomes. Over several draws of it outputs are averaged.

    Returns
    -------
    Attributions
        `values`: (B, T, 1, H, W), output units, signed. `total`: (B, T), output with all superpixels minus output with none, which the
        values sum to.

    References
    ----------
    Castro, Gomez and Tejada, Polynomial calculation of the Shapley value based on sampling, 2009; reverses: Mitchell, Cooper, Frank and
    Holmes, Sampling permutations for Shapley value estimation, 2022 (arXiv:2104.12199), section 2.2.
    """

    family: ClassVar = Family.SHAPLEY
    paper: ClassVar = "Castro et al., 2009"
    claims: ClassVar = frozenset({"completeness", "dummy", "implementation invariance", "linearity", "sensitivity"})

    samples: PositiveInt = 2048
    superpixels: Superpixels = Squares()
    removal: Removal = Constant()

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        return super().unsupported(problem) or coalitions.unsupported(problem, self.removal)

    def passes(self, problem: Problem) -> Passes:
        """For each image all coalitions of its superpixels that change, forward; all targets share them."""
        parts = coalitions.players(problem, self.superpixels, self.removal)
        return coalitions.group_passes(parts, self.removal, lambda count: 2 + 2 * (count - 1) * self._pairs(count))

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        parts = coalitions.players(problem, self.superpixels, self.removal)
        return coalitions.explain(
            parts, self.removal, lambda part: permutations(part.count, self._pairs(part.count), rng.shared()), self.output
        )

    def _pairs(self, count: int) -> int:
        return max(1, self.samples // max(1, 2 * (count - 1)))


def permutations(count: int, pairs: int, generator: torch.Generator) -> Design:
    """All coalitions of the first superpixels of `pairs` random orders and of their reverses; weights of the mean rise."""
    place = torch.rand(pairs, count, generator=generator).argsort(dim=1)
    place = torch.cat([place, count - 1 - place])
    # present[o, s]: the coalition of the first s superpixels of order o
    present = place[:, None] < torch.arange(count + 1)[:, None]
    last = torch.nn.functional.one_hot(place.argsort(dim=1), count).to(torch.float64) / len(place)
    nobody = torch.zeros(len(place), 1, count, dtype=torch.float64)
    weights = torch.cat([nobody, last], dim=1) - torch.cat([last, nobody], dim=1)
    ends = torch.stack([weights[:, 0].sum(0), weights[:, -1].sum(0)])
    inner = present[:, 1:-1].reshape(-1, count)
    return Design(torch.cat([present[0, [0, -1]], inner]), torch.cat([ends, weights[:, 1:-1].reshape(-1, count)]))
