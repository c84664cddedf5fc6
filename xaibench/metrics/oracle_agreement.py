"""Oracle agreement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.metrics.counterfactual_metric import Found
from xaibench.metrics.oracle_metric import OracleMetric, asked
from xaibench.problem import Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class OracleAgreement(OracleMetric):
    """Whether a second, independently trained classifier also takes a counterfactual for the target.

    A change that only fools the one classifier, as an adversarial example does, seldom convinces the other.

    Parameters
    ----------
    oracle
        See `OracleMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), 1 or 0: the target has the oracle's largest logit; higher is better, and the mean is the share of the
        counterfactuals that convince it. NaN where none was found, or where a logit of the oracle is NaN.

    Raises
    ------
    ConfigurationError
        If the oracle is no classifier.
    ValueError
        If counterfactuals and problem differ in images, targets or shape, or the problem has no probabilities.

    References
    ----------
    Hvilshøj, Iosifidis and Assent, On Quantitative Evaluations of Counterfactuals, 2021 (arXiv:2111.00177): Oracle score. Differs: their
    oracle has an architecture of its own; here it has the classifier's, unless another is given.
    """

    higher_is_better: ClassVar[bool | None] = True

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """Whether each convinces it."""
        logits = asked(problem, found.counterfactuals)
        if not len(logits):
            return {"value": logits.sum(dim=1)}
        agrees = (logits.argmax(dim=1) == found.targets).to(torch.float32)
        return {"value": agrees.masked_fill(logits.isnan().any(dim=1), torch.nan)}
