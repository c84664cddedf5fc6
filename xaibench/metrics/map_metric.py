"""What the metrics share that look at the map only, or at the map and the true mask."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.maps import Pooling, finite, pool
from xaibench.problem import Explanation, Problem
from xaibench.scoring import Metric, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class MapMetric(Metric):
    """Scores one number for each pixel. A map that holds a NaN or an infinite value has no score."""

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        maps = self.pooled(problem, explanation)
        defined = finite(explanation) & maps.flatten(2).isfinite().all(dim=2)
        found = self.score(maps, problem)
        return Scores({name: torch.where(defined, value, torch.nan).to(torch.float32) for name, value in found.items()})

    @abstractmethod
    def pooled(self, problem: Problem, explanation: Explanation) -> Tensor:
        """(B, T, H, W), float64: one number for each pixel."""

    @abstractmethod
    def score(self, maps: Tensor, problem: Problem) -> Mapping[str, Tensor]:
        """(B, T) for each name, `value` among them, of maps (B, T, H, W)."""


@dataclass(frozen=True)
class PooledMapMetric(MapMetric):
    """Takes the channels together as most metrics do.

    Parameters
    ----------
    pooling
        How a pixel's channels become one number.
    """

    pooling: Pooling = "sum"

    def pooled(self, problem: Problem, explanation: Explanation) -> Tensor:
        """See `MapMetric`."""
        return pool(problem, explanation, self.pooling)
