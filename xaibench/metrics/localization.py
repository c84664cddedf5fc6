"""What the metrics share that compare a map with the true mask: which pixels are in it, and what they hold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench.maps import check_shapes, pool
from xaibench.metrics.map_metric import MapMetric, PooledMapMetric
from xaibench.problem import Explanation, Family, Problem
from xaibench.scoring import Requires

Norm = Literal["sum_positive", "sum_absolute", "l1_norm", "max_norm", "l2_norm", "l2_norm_squared"]
"""How a pixel's channels become a number that is not negative: the positive part or the absolute value of their sum; the sum or the
largest of their absolute values; the root of the sum of their squares, or that sum."""


@dataclass(frozen=True)
class LocalizationMetric(MapMetric):
    """Needs true masks; NaN where a mask has no pixel (the class is not in the image)."""

    family: ClassVar[Family] = Family.LOCALIZATION
    higher_is_better: ClassVar[bool | None] = True
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MASKS})

    def score(self, maps: Tensor, problem: Problem) -> Mapping[str, Tensor]:
        """See `MapMetric`."""
        masks = problem.masks
        if masks is None or masks.shape != maps.shape:
            found = "None" if masks is None else f"of shape {tuple(masks.shape)}"
            raise ValueError(f"Problem.masks {found}: expected shape {tuple(maps.shape)}, as the pooled attributions")
        there = masks.flatten(2).any(dim=2)
        return {name: torch.where(there, value, torch.nan) for name, value in self.compare(maps, masks).items()}

    @abstractmethod
    def compare(self, maps: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        """(B, T) for each name, `value` among them, of maps (B, T, H, W), float64, and masks of the same shape, bool."""


@dataclass(frozen=True)
class PooledLocalization(PooledMapMetric, LocalizationMetric):
    """Takes the channels together as most metrics do."""


@dataclass(frozen=True)
class OrderedLocalization(PooledLocalization):
    """Asks which pixels have the highest relevance.

    Parameters
    ----------
    absolute
        Whether the highest is the one farthest from 0, of either sign, in place of the most positive.
    """

    absolute: bool = False

    def pooled(self, problem: Problem, explanation: Explanation) -> Tensor:
        """See `MapMetric`."""
        maps = super().pooled(problem, explanation)
        return maps.abs() if self.absolute else maps


@dataclass(frozen=True)
class NormedLocalization(LocalizationMetric):
    """Takes the channels together to a number that is not negative.

    Parameters
    ----------
    pooling
        How.
    """

    pooling: Norm = "l2_norm_squared"

    def pooled(self, problem: Problem, explanation: Explanation) -> Tensor:
        """See `MapMetric`."""
        if self.pooling == "l1_norm":
            return pool(problem, explanation, "abs_sum")
        if self.pooling in ("sum_positive", "sum_absolute"):
            total = pool(problem, explanation, "sum")
            return total.clamp(min=0) if self.pooling == "sum_positive" else total.abs()
        check_shapes(problem, explanation)
        channels = explanation.values.detach().to(torch.float64)
        if self.pooling == "max_norm":
            return channels.abs().amax(dim=2)
        squares = channels.square().sum(dim=2)
        return squares if self.pooling == "l2_norm_squared" else squares.sqrt()


def share_inside(maps: Tensor, masks: Tensor) -> Tensor:
    """(B, T): the part of what maps that are not negative hold that lies in the masks; NaN where they hold nothing."""
    return (maps * masks).sum(dim=(2, 3)) / maps.sum(dim=(2, 3))


def top_inside(maps: Tensor, masks: Tensor, count: Tensor) -> Tensor:
    """(B, T): how many of the highest `count` (B, T) pixels lie in the masks: the mean over all orders of equal pixels."""
    values, inside = maps.flatten(2), masks.flatten(2)
    last = (count - 1).clamp(min=0)[..., None]
    lowest = values.sort(dim=2, descending=True).values.gather(2, last)
    above, equal = values > lowest, values == lowest
    left = count - above.sum(dim=2)
    return (above & inside).sum(dim=2) + left * (equal & inside).sum(dim=2) / equal.sum(dim=2).to(maps.dtype)
