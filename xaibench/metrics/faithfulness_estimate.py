"""Faithfulness estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.metrics.subsets import SubsetMetric, Subsets, singles
from xaibench.problem import Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class FaithfulnessEstimate(SubsetMetric):
    """Correlation of attribution and drop of the probability when each pixel is removed alone.

    Over all pixels (or regions) the attribution is correlated (Pearson) with f(x) - f(x without it). It does not depend on the map's scale.
    Nothing is ranked, so there are no ties. Fields: see `SubsetMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), in [-1, 1]; higher is better. NaN where all drops are equal, for a constant map, for a map with a NaN, or where the
        classifier gives one. Changes below 2^-22 of the largest output count as none.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Alvarez-Melis and Jaakkola, Towards robust interpretability with self-explaining neural networks, NeurIPS 2018 (arXiv:1806.07538),
    section 5, faithfulness.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Alvarez-Melis and Jaakkola, 2018 (arXiv:1806.07538)"

    def count(self, problem: Problem) -> int:
        """See `SubsetMetric`."""
        return int(self.regions(problem).max()) + 1

    def subsets(self, problem: Problem, rng: Rng) -> Subsets:
        """See `SubsetMetric`."""
        return singles(self.regions(problem))
