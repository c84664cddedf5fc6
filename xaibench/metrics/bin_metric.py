"""What the metrics share that remove, or keep, a few given shares of the most relevant pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import ConfigurationError, Fraction
from xaibench.curves import First, Ranking
from xaibench.metrics.curve_metric import RemovalMetric
from xaibench.problem import Problem


@dataclass(frozen=True)
class BinMetric(RemovalMetric):
    """The output of the whole image less that of the altered one, averaged over the shares.

    Parameters
    ----------
    bins
        Shares of the regions, ascending, above 0 and below 1; each is rounded to whole regions (halves to even), at least one.

    Raises
    ------
    ConfigurationError
        If `bins` are none, do not ascend, or are not between 0 and 1.
    """

    whole: ClassVar[int]
    """Position of the whole image on the curve."""

    bins: tuple[Fraction, ...] = (0.01, 0.05, 0.1, 0.2, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = (0.0, *self.bins, 1.0)
        if not self.bins or any(share >= following for share, following in pairwise(shares)):
            raise ConfigurationError(f"{type(self).__name__}.bins={self.bins}: expected ascending shares above 0 and below 1")

    def points(self, problem: Problem) -> int:
        """One for each share, and both ends."""
        return len(self.bins) + 2

    def removed(self, ranked: Ranking) -> tuple[Tensor, Tensor]:
        """The shares in whole regions, and 0 and 1; the axis holds the shares as they are given."""
        axis = torch.tensor((0.0, *self.bins, 1.0), dtype=torch.float64, device=ranked.regions.device)
        numbers = (axis * ranked.regions[:, None]).round().clamp(min=1).to(torch.int64)
        numbers[:, 0] = 0
        return (ranked.regions[:, None] - numbers.flip(1) if self.keeps else numbers), axis

    def values(self, along: Mapping[First, Tensor], axis: Tensor) -> dict[str, Tensor]:
        """The mean difference; the ends are no shares."""
        (curve,) = along.values()
        return {"value": (curve[..., self.whole, None] - curve[..., 1:-1]).mean(dim=2)}
