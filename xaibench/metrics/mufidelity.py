"""MuFidelity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.metrics.correlations import spearman
from xaibench.metrics.faithfulness_correlation import FaithfulnessCorrelation
from xaibench.superpixels import Squares, Superpixels


@dataclass(frozen=True)
class MuFidelity(FaithfulnessCorrelation):
    """Rank correlation of attribution and drop of the probability over random subsets of the squares of a grid.

    Faithfulness correlation with squares in the place of pixels, which high-frequency noise in a map does not survive, and with Spearman's
    correlation: equal sums, and equal drops, have the mean of their ranks. It does not depend on the maps' scale, nor on any increasing
    change of the drops. Further fields: see `SubsetMetric`, `FaithfulnessCorrelation`.

    Parameters
    ----------
    superpixels
        The regions; a grid of 9 x 9 by default.
    samples
        Subsets.

    Returns
    -------
    Scores
        `value`: (B, T), in [-1, 1]; higher is better. NaN where all sums or all drops are equal, for a constant map, for a map with a NaN,
        or where the classifier gives one. Changes below 2^-22 of the largest output count as none.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Fel et al., How good is your explanation? Algorithmic stability measures to assess the quality of explanations for deep neural
    networks, WACV 2022 (arXiv:2009.04521), after Bhatt et al. (arXiv:2005.00631); grid, 20 % of its squares, 200 samples and Spearman's
    correlation as in the authors' library Xplique. Differs: subsets have exactly the rounded number of squares.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Fel et al., 2022 (arXiv:2009.04521)"

    superpixels: Superpixels = Squares(9)
    samples: PositiveInt = 200

    def statistic(self, sums: Tensor, effects: Tensor) -> Tensor:
        """(b, T): Spearman's correlation."""
        return spearman(sums, effects)
