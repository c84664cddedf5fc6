"""Monotonicity correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.metrics.correlations import spearman
from xaibench.metrics.faithfulness_estimate import FaithfulnessEstimate
from xaibench.removal import Marginal, Removal


@dataclass(frozen=True)
class MonotonicityCorrelation(FaithfulnessEstimate):
    """Rank correlation of a pixel's absolute attribution and how uncertain the probability is when the pixel is not known.

    A pixel is unknown where it takes, one after the other, its values in several background images, all others being fixed; the
    uncertainty is the mean squared change of the output. Over all pixels (or regions) it is correlated (Spearman; equal values have the
    mean of their ranks) with |attribution|. It does not depend on the map's scale or signs. Further fields: see `SubsetMetric`.

    Parameters
    ----------
    removal
        Draws the unknown pixel's values. With a removal of one version the squared change of one replacement is taken.

    Returns
    -------
    Scores
        `value`: (B, T), in [-1, 1]; higher is better. NaN where all changes are equal, for a map that is constant (if only in magnitude) or
        holds a NaN, or where the classifier gives one. Changes below 2^-22 of the largest output count as none.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Nguyen and Martinez, On quantitative aspects of model interpretability, 2020 (arXiv:2007.07584), monotonicity. Differs: a pixel's
    values come from its marginal distribution, since the one given all other pixels is not known.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Nguyen and Martinez, 2020 (arXiv:2007.07584)"

    removal: Removal = Marginal(samples=5)

    def effect(self, change: Tensor) -> Tensor:
        """(b, T, S): the mean squared change."""
        return change.square().mean(dim=3)

    def statistic(self, sums: Tensor, effects: Tensor) -> Tensor:
        """(b, T): Spearman's correlation."""
        return spearman(sums.abs(), effects)
