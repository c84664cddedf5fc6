"""Label variation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.metrics.counterfactual_metric import Found
from xaibench.metrics.oracle_metric import OracleMetric, asked
from xaibench.problem import Counterfactuals, Explainer, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class LabelVariation(OracleMetric):
    """How much a second classifier's opinion of the classes that should not be touched differs between original and counterfactual.

    The oracle's probability of a class k is read as that of a yes-or-no label: p_k at the original, q_k at the counterfactual. The score is
    the Jensen-Shannon divergence (natural logarithm) between the Bernoulli distributions of p_k and q_k, averaged over all classes k but
    the target and the class that the classifier gives the original.

    Parameters
    ----------
    oracle
        See `OracleMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, ln 2]; lower is better. NaN where no counterfactual was found, or where a logit of the oracle is NaN. An
        unchanged image has 0: read it beside validity and oracle agreement.

    Raises
    ------
    ConfigurationError
        If the oracle is no classifier.
    ValueError
        If counterfactuals and problem differ in images, targets or shape, or the problem has no probabilities.

    References
    ----------
    Hvilshøj, Iosifidis and Assent, On Quantitative Evaluations of Counterfactuals, 2021 (arXiv:2111.00177): label variation score. Differs:
    theirs is for images with several labels (a face's make-up, smile, ...), has an oracle for each label, and gives one number for each
    label that is not explained. Images with one label of K have no others: here the classes that are not involved take their place, one
    oracle's softmax gives their probabilities, which are not independent of each other, and the mean over them is the score.
    """

    higher_is_better: ClassVar[bool | None] = False

    def unsupported(self, problem: Problem, explainer: Explainer[Counterfactuals]) -> str | None:
        """Needs a third class, beside what `OracleMetric` does."""
        reason = super().unsupported(problem, explainer)
        if reason is None and problem.probabilities is not None and problem.probabilities.shape[1] < 3:
            return "needs a class beside the target and the predicted one, and there are two classes"
        return reason

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """The mean divergence for each."""
        rows, place = found.row.unique(return_inverse=True)
        before, after = (asked(problem, images).double().softmax(dim=1) for images in (problem.images[rows], found.counterfactuals))
        other = torch.ones_like(after, dtype=torch.bool)
        for classes in (found.targets, found.predicted):
            other.scatter_(1, classes[:, None], False)
        return {"value": (_divergence(before[place], after) * other).sum(dim=1) / other.sum(dim=1)}


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence of Bernoulli distributions with these probabilities: the entropy of the mean less the mean entropy."""
    return (_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2).clamp_min(0)


def _entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p) - torch.xlogy(1 - p, 1 - p)
