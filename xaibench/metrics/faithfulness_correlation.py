"""Faithfulness correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.component import Fraction, PositiveInt
from xaibench.metrics.subsets import SubsetMetric, Subsets, drawn, size
from xaibench.problem import Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class FaithfulnessCorrelation(SubsetMetric):
    """Correlation of attribution and drop of the probability over random subsets of a given number of pixels.

    `samples` random subsets of the same size are removed, each from the whole image, the same subsets from all images; over them the sum of
    a subset's attributions is correlated (Pearson) with f(x) - f(x without it). It does not depend on the maps' scale. Nothing is ranked,
    so there are no ties. Further fields: see `SubsetMetric`.

    Parameters
    ----------
    fraction
        Size of the subsets, as a share of the image's regions, rounded to at least 1 and less than all.
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
    Bhatt, Weller and Moura, Evaluating and aggregating feature-based model explanations, IJCAI 2020 (arXiv:2005.00631), definition of
    faithfulness. The paper leaves subset size and baseline open; here 20 % and, by default, black.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Bhatt et al., 2020 (arXiv:2005.00631)"

    fraction: Fraction = 0.2
    samples: PositiveInt = 100

    def count(self, problem: Problem) -> int:
        """See `SubsetMetric`."""
        return self.samples

    def subsets(self, problem: Problem, rng: Rng) -> Subsets:
        """See `SubsetMetric`."""
        regions = self.regions(problem)
        return drawn(regions, [size(self.fraction, int(regions.max()) + 1)], self.samples, rng.shared())
