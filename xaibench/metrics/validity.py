"""Validity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.metrics.counterfactual_metric import CounterfactualMetric, Found
from xaibench.problem import Counterfactuals, Problem
from xaibench.scoring import Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Validity(CounterfactualMetric):
    """Whether a counterfactual was found: the classifier takes the stored image for the target (`searching.verdict`).

    Returns
    -------
    Scores
        `value`: (B, T), 1 or 0; higher is better, and the mean is the share of pairs that were found. NaN where nothing was asked for,
        because the target is the predicted class.

    Raises
    ------
    ValueError
        If counterfactuals and problem differ in images, targets or shape, or the problem has no probabilities.

    References
    ----------
    Hvilshøj, Iosifidis and Assent, On Quantitative Evaluations of Counterfactuals, 2021 (arXiv:2111.00177): target-class validity.
    """

    higher_is_better: ClassVar[bool | None] = True
    paper: ClassVar[str] = "Hvilshøj et al., 2021 (arXiv:2111.00177)"

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """1 for each."""
        return {"value": found.originals.new_ones(len(found.targets))}

    def __call__(self, problem: Problem, explanation: Counterfactuals, rng: Rng) -> Scores:
        """Score every (image, target)."""
        value = super().__call__(problem, explanation, rng).values["value"]
        return Scores({"value": value.masked_fill(explanation.asked & ~explanation.found, 0.0)})
