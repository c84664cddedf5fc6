"""Owen values of a hierarchy of rectangles (partition SHAP)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.explainers import coalitions
from xaibench.explainers.coalitions import Design
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.removal import Constant, Removal
from xaibench.seeding import Rng
from xaibench.superpixels import Halves

DEEPEST = 7


@dataclass(frozen=True)
class OwenShapley(Explainer):
    """Each pixel's equal share of its rectangle's Owen value: its Shapley value when every half of the image acts as one.

    The image is halved `depth` times. On the way from the whole image to a rectangle, the other half is present or absent as a whole at
    every cut; the value is the mean rise of the explained output when the rectangle is added, over all 2^depth such choices. It is
    exact: nothing is sampled.

    Parameters
    ----------
    depth
        Cuts, at most 7; there are 2^depth rectangles.
    removal
        What an absent rectangle becomes. Over several draws of it outputs are averaged.

    Returns
    -------
    Attributions
        `values`: (B, T, 1, H, W), output units, signed. `total`: (B, T), output with all rectangles minus output with none, which the
        values sum to.

    References
    ----------
    Owen, Values of games with a priori unions, 1977; for images the partition explainer of shap (Lundberg and Lee, 2017,
    arXiv:1705.07874). Differs: the hierarchy is evaluated completely down to its rectangles, not greedily.
    """

    family: ClassVar = Family.SHAPLEY
    paper: ClassVar = "Owen, 1977"
    claims: ClassVar = frozenset({"completeness", "dummy", "implementation invariance", "linearity", "sensitivity"})

    depth: PositiveInt = 6
    removal: Removal = Constant()

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: the image must be large enough for so many cuts."""
        height, width = problem.images.shape[-2:]
        if self.depth > DEEPEST:
            return f"depth={self.depth} needs about 4^{self.depth} / 1.5 coalitions: take at most {DEEPEST}"
        reason = Halves(self.depth).unsupported(height, width)
        return super().unsupported(problem) or coalitions.unsupported(problem, self.removal) or reason

    def passes(self, problem: Problem) -> Passes:
        """2 + 2 (4^depth - 1) / 3 forward passes for each image; all targets share them."""
        return coalitions.passes(problem, Halves(self.depth), self.removal, lambda _: 2 + 2 * (4**self.depth - 1) // 3)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        parts = coalitions.changing(problem, Halves(self.depth), self.removal)
        return coalitions.explain(parts, self.removal, lambda _: hierarchy(self.depth), self.output)


def hierarchy(depth: int) -> Design:
    """All coalitions that the Owen values of 2^depth rectangles need, and their weights."""
    count = 2**depth
    rectangle = torch.arange(count)
    # the cut at which two rectangles part: 0 for the first one
    cut = depth - 1 - torch.log2((rectangle[:, None] ^ rectangle).clamp(min=1).to(torch.float64)).to(torch.int64)
    choice = rectangle[:, None] >> torch.arange(depth) & 1 == 1
    absent = choice[:, cut].transpose(0, 1) & ~torch.eye(count, dtype=torch.bool)[:, None]
    present = absent | torch.eye(count, dtype=torch.bool)[:, None]
    every, place = torch.stack([absent, present]).reshape(-1, count).unique(dim=0, return_inverse=True)
    own = rectangle.repeat_interleave(count).repeat(2)
    share = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat_interleave(count * count) / count
    weights = torch.zeros(len(every), count, dtype=torch.float64).index_put_((place, own), share, accumulate=True)
    return _ends_first(every, weights)


def _ends_first(every: Tensor, weights: Tensor) -> Design:
    """Rows sorted by size, so that the empty and the full coalition are the ends: these go first."""
    order = every.sum(1).argsort(stable=True)
    order = torch.cat([order[:1], order[-1:], order[1:-1]])
    return Design(every[order], weights[order])
