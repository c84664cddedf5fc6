"""Completeness error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xaibench.explaining import completeness_error
from xaibench.maps import check_shapes
from xaibench.problem import Explainer, Explanation, Family, Problem
from xaibench.scoring import Metric, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class CompletenessError(Metric):
    """How far the attributions' sum is from the change of output that they claim to divide among the pixels.

    |sum over channels and pixels - total|, where `total` comes with the explanation (for integrated gradients f(x) - f(baseline)). Applies
    only to explainers that claim completeness (= efficiency, summation-to-delta, conservation). Nothing is ranked, so there are no ties.

    Returns
    -------
    Scores
        `value`: (B, T), absolute, in units of the explained output, 0 or more; lower is better. `relative`: (B, T), `value` / |total|;
        NaN where the total is 0. Both are NaN where the attributions or the total are.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or there is no total of shape (B, T).

    References
    ----------
    Sundararajan, Taly, Yan, Axiomatic Attribution for Deep Networks, ICML 2017 (arXiv:1703.01365), proposition 1.
    """

    family: ClassVar[Family] = Family.AXIOMATIC
    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "arXiv:1703.01365"

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Only explainers that claim completeness have such an error."""
        return None if "completeness" in explainer.claims else "does not claim completeness"

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        check_shapes(problem, explanation)
        total, targets = explanation.total, problem.targets.shape
        if total is None or total.shape != targets:
            found = "None" if total is None else f"of shape {tuple(total.shape)}"
            raise ValueError(f"Attributions.total {found}: expected shape {tuple(targets)}, as the targets")
        error = completeness_error(explanation)
        return Scores({"value": error, "relative": torch.where(total == 0, torch.nan, error / total.abs())})
