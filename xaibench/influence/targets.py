"""The means that features are given: from their own (tau = 0) to a low one (tau = -1) and a high one (tau = 1)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

import annotated_types
import numpy as np

from xaibench.component import Component
from xaibench.influence.histograms import Floats, Histograms

VERSION = 1

Tail = Annotated[float, annotated_types.Ge(0), annotated_types.Lt(0.5)]


@dataclass(frozen=True)
class Targets(Component):
    """Where the mean of a feature goes at tau = -1 and at tau = 1."""

    @abstractmethod
    def ends(self, histograms: Histograms) -> tuple[Floats, Floats]:
        """(F,) each, in the feature's unit: the low and the high one; what lies on the wrong side of the mean moves nothing."""

    def __call__(self, histograms: Histograms, taus: tuple[float, ...]) -> Floats:
        """(F, S): mean + tau (high - mean), or mean + |tau| (low - mean)."""
        mean = (histograms.values * histograms.counts).sum(axis=1) / histograms.counts.sum(axis=1)
        low, high = self.ends(histograms)
        low, high = np.minimum(low, mean), np.maximum(high, mean)
        tau = np.array(taus)[None]
        moved = mean[:, None] + np.where(tau < 0, (mean - low)[:, None] * tau, (high - mean)[:, None] * tau)
        # at the ends exactly, as these may be the boundary of the data
        return np.where(tau == -1, low[:, None], np.where(tau == 1, high[:, None], moved))


@dataclass(frozen=True)
class QuantileTargets(Targets):
    """The quantiles of the feature (linear between order statistics), as in arXiv:1810.07924.

    Parameters
    ----------
    tail
        0.05 goes from the 5 % quantile to the 95 % quantile. Where the latter is not above the mean, tau = 1 moves nothing.
    """

    tail: Tail = 0.05

    def ends(self, histograms: Histograms) -> tuple[Floats, Floats]:
        """See `Targets`."""
        return quantile(histograms, self.tail), quantile(histograms, 1 - self.tail)


@dataclass(frozen=True)
class RangeTargets(Targets):
    """Values that lie a share of the feature's range inside its smallest and largest one: every varying feature moves both ways.

    Parameters
    ----------
    margin
        That share. Near the ends few images carry all the weight: see the effective sample size.
    """

    margin: Tail = 0.05

    def ends(self, histograms: Histograms) -> tuple[Floats, Floats]:
        """See `Targets`."""
        there = histograms.counts > 0
        low = np.where(there, histograms.values, np.inf).min(axis=1)
        high = np.where(there, histograms.values, -np.inf).max(axis=1)
        return low + self.margin * (high - low), high - self.margin * (high - low)


def quantile(histograms: Histograms, share: float) -> Floats:
    """(F,): the quantile of each feature, linear between order statistics, of whole counts."""
    upto = histograms.counts.cumsum(axis=1)
    place = (upto[:, -1] - 1) * share
    below = np.floor(place)
    first, second = (_order_statistic(histograms.values, upto, rank) for rank in (below, np.minimum(below + 1, upto[:, -1] - 1)))
    return first + (place - below) * (second - first)


def _order_statistic(values: Floats, upto: Floats, rank: Floats) -> Floats:
    """(F,): the value of the image with so many before it."""
    at = (upto <= rank[:, None]).sum(axis=1)
    found: Floats = np.take_along_axis(values, at[:, None], axis=1)[:, 0]
    return found
