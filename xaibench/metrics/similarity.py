"""How alike two maps are: rank correlation, correlation or structural similarity, map by map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench.maps import Pooling, pool_finite
from xaibench.metrics.correlations import mean_ranks
from xaibench.problem import Attributions, Explainer, Family, Problem
from xaibench.scoring import Metric, Requires

Similarity = Literal["spearman", "pearson", "ssim"]

WINDOW = 7
"""Side of the square windows of the structural similarity."""


@dataclass(frozen=True)
class Comparison(Metric):
    """Compares the map of an (image, target) with other maps of the same image.

    Parameters
    ----------
    similarity
        "spearman": correlation of ranks, ties taking the mean of their ranks. "pearson": correlation of values. "ssim": mean structural
        similarity over windows of 7 x 7 pixels inside the image, of maps divided by their largest absolute value. All are 1 for equal
        maps, and NaN where one of the maps is constant.
    absolute
        Whether absolute values are compared, not signed ones.
    pooling
        How a pixel's channels become one number, of which the absolute value is taken.
    inside
        Whether only pixels (windows, by their middle) that are not 0 in the image are compared: elsewhere methods that multiply by the
        image are 0, whatever the classifier.
    """

    family: ClassVar[Family] = Family.RANDOMIZATION
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL, Requires.EXPLAINER})

    similarity: Similarity = "spearman"
    absolute: bool = True
    pooling: Pooling = "sum"
    inside: bool = False

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Structural similarity needs windows."""
        reason = super().unsupported(problem, explainer)
        height, width = problem.images.shape[2:]
        if reason is None and self.similarity == "ssim" and min(height, width) < WINDOW:
            return f"images of {height}x{width} pixels: structural similarity needs at least {WINDOW}x{WINDOW}"
        return reason

    def prepared(self, problem: Problem, values: Tensor) -> Tensor:
        """What `compared` takes of attributions (B, T, C or 1, H, W), float64; made once of a map that is compared several times."""
        maps = pool_finite(problem, Attributions(values), self.pooling)
        maps = maps.abs() if self.absolute else maps
        if self.similarity == "ssim":
            return scaled(maps)
        return standardized(maps, self._counted(problem), ranked=self.similarity == "spearman")

    def compared(self, problem: Problem, one: Tensor, other: Tensor) -> Tensor:
        """(B, T), float64: the similarity of what `prepared` gives."""
        if self.similarity == "ssim":
            return structural_similarity(one, other, 1.0 if self.absolute else 2.0, self._counted(problem))
        return (one * other).sum(2).clamp(-1, 1)

    def _counted(self, problem: Problem) -> Tensor | None:
        """(B, 1, H, W), bool: the pixels that are compared, or None for all."""
        return (problem.images != 0).any(1, keepdim=True) if self.inside else None


def standardized(maps: Tensor, counted: Tensor | None = None, ranked: bool = False) -> Tensor:
    """(B, T, H W): maps (B, T, H, W), or their ranks, less their mean and divided by their norm: scalar products are correlations.

    Over the pixels that count; the others are 0. NaN where a map is constant there, or holds anywhere a NaN or an infinite value.
    """
    values, defined = maps.flatten(2), maps.isfinite().flatten(2).all(2, keepdim=True)
    if counted is None:
        values = mean_ranks(values) if ranked else values
        centered = values - values.mean(2, keepdim=True)
        defined = defined & (values.amin(2, keepdim=True) < values.amax(2, keepdim=True))
    else:
        inside = counted.flatten(2)
        # What does not count ranks behind all that does.
        values = mean_ranks(values.masked_fill(~inside, torch.inf)) if ranked else values
        least, most = (values.masked_fill(~inside, end) for end in (torch.inf, -torch.inf))
        mean = values.masked_fill(~inside, 0).sum(2, keepdim=True) / inside.sum(2, keepdim=True)
        centered = (values - mean).masked_fill(~inside, 0)
        defined = defined & (least.amin(2, keepdim=True) < most.amax(2, keepdim=True))
    return (centered / centered.norm(dim=2, keepdim=True)).masked_fill(~defined, torch.nan)


def scaled(maps: Tensor) -> Tensor:
    """Maps (B, T, H, W) divided by their largest absolute value; NaN where a map is constant, or holds a NaN or an infinite value."""
    least, most = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    defined = least.isfinite() & most.isfinite() & (least < most)
    return (maps / torch.maximum(-least, most)).masked_fill(~defined, torch.nan)


def structural_similarity(one: Tensor, other: Tensor, span: float, counted: Tensor | None = None) -> Tensor:
    """(B, T): mean structural similarity of maps (B, T, H, W) whose values span a range of `span`; in [-1, 1].

    Uniform windows of 7 x 7 pixels that lie inside the image, sample covariances, K1 = .01, K2 = .03 (Wang et al. 2004, eq. 13).
    `counted` (B, 1, H, W) are the middles of the windows that count; None for all. NaN where a map holds a NaN, or no window counts.
    """
    down, right = (_windows(size, one) for size in one.shape[2:])

    def mean(values: Tensor) -> Tensor:
        return down @ values @ right.T

    sample = WINDOW**2 / (WINDOW**2 - 1)
    mean1, mean2 = mean(one), mean(other)
    variances = sample * (mean(one * one + other * other) - mean1 * mean1 - mean2 * mean2)
    covariance = sample * (mean(one * other) - mean1 * mean2)
    small1, small2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    local = (2 * mean1 * mean2 + small1) * (2 * covariance + small2)
    local /= (mean1 * mean1 + mean2 * mean2 + small1) * (variances + small2)
    if counted is None:
        return local.mean((2, 3))
    border = WINDOW // 2
    middles = counted[..., border:-border, border:-border]
    return (local * middles).sum((2, 3)) / middles.sum((2, 3))


def _windows(size: int, like: Tensor) -> Tensor:
    """(size - 6, size): averages over the windows along an axis."""
    return like.new_ones(size - WINDOW + 1, size).triu().tril(WINDOW - 1) / WINDOW
