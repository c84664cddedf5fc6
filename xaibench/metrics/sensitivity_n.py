"""Sensitivity-n."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.component import Fraction, PositiveInt
from xaibench.metrics.correlations import pearson
from xaibench.metrics.subsets import SubsetMetric, Subsets, drawn, size
from xaibench.perturb import Read
from xaibench.problem import Explanation, Problem
from xaibench.scoring import Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class SensitivityN(SubsetMetric):
    """Correlation of attribution and change of the logit when n random pixels are removed, averaged over several n.

    For each n, `samples` random subsets of exactly n pixels are removed, each from the whole image, the same subsets from all images; over
    them the sum of a subset's attributions is correlated (Pearson) with f(x) - f(x without it). It does not depend on the maps' scale.
    Nothing is ranked, so there are no ties. Further fields: see `SubsetMetric`.

    Parameters
    ----------
    fractions
        The n, as shares of the image's regions, rounded to at least 1 and less than all; equal n count once.
    samples
        Subsets for each n.
    output
        What is read of the target; the logit by default, as in the paper.

    Returns
    -------
    Scores
        `value`: (B, T), mean over n, in [-1, 1]; higher is better, 1 where attributions add up to what removal does for every subset of
        these sizes. `n_<n>`: (B, T), for each n. NaN where for this n (for `value`: any n) all sums or all changes are equal, for a
        constant map, for a map with a NaN, or where the classifier gives one. Changes below 2^-22 of the largest output count as none.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Ancona et al., Towards better understanding of gradient-based attribution methods for deep neural networks, ICLR 2018
    (arXiv:1711.06104), sensitivity-n: 100 subsets, features set to 0. Differs: the paper plots the correlation over n; here its mean
    over `fractions` is the headline.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Ancona et al., 2018 (arXiv:1711.06104)"

    output: Read = "logit"
    fractions: tuple[Fraction, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
    samples: PositiveInt = 100

    def sizes(self, problem: Problem) -> list[int]:
        """The different n, ascending."""
        regions = int(self.regions(problem).max()) + 1
        return sorted({size(fraction, regions) for fraction in self.fractions})

    def count(self, problem: Problem) -> int:
        """See `SubsetMetric`."""
        return len(self.sizes(problem)) * self.samples

    def subsets(self, problem: Problem, rng: Rng) -> Subsets:
        """See `SubsetMetric`."""
        return drawn(self.regions(problem), self.sizes(problem), self.samples, rng.shared())

    def statistic(self, sums: Tensor, effects: Tensor) -> Tensor:
        """(b, T, N): the correlation for each n."""
        return pearson(sums.unflatten(2, (-1, self.samples)), effects.unflatten(2, (-1, self.samples)))

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        found = self.compared(problem, explanation, rng)
        each = {f"n_{n}": found[..., place].contiguous() for place, n in enumerate(self.sizes(problem))}
        return Scores({"value": found.mean(dim=2), **each})
