"""What the metrics share that compare the explanations of different images: maps as few numbers, and predicted classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.maps import Pooling, pool_finite
from xaibench.problem import Explainer, Explanation, Passes, Problem
from xaibench.scoring import Metric
from xaibench.superpixels import Squares, Superpixels

DIGITS = 6
"""Decimals, as a share of a map's largest value, to which maps are rounded: constant maps of any level are then the same."""


@dataclass(frozen=True)
class SetLevelMetric(Metric):
    """Asks for the other images with about the same explanation. It needs no model where the predictions are known.

    Parameters
    ----------
    superpixels
        The regions, the same for all images, in each of which a map is averaged first: hardly any two maps of single pixels are the same.
    pooling
        How a pixel's channels become one number.
    """

    higher_is_better: ClassVar[bool | None] = True
    set_level: ClassVar[bool] = True

    superpixels: Superpixels = Squares(side=4)
    pooling: Pooling = "sum"

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs predictions, or a model to make them, and regions that all images share."""
        if not self.superpixels.shared:
            return f"{self.superpixels} gives each image regions of its own, and maps are compared region by region"
        if problem.model is None and problem.probabilities is None:
            return "needs the predicted classes, or a model to predict them"
        return super().unsupported(problem, explainer)

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """None where the predictions are known, else one forward pass for each image."""
        return Passes(len(problem.images) if problem.probabilities is None else 0)

    def regional(self, problem: Problem, explanation: Explanation) -> Tensor:
        """(B, T, R), float64: the regions' mean relevance / the largest absolute one of the map, rounded; 0 for a map that is 0."""
        region = self.superpixels(problem.images).flatten()
        member = torch.nn.functional.one_hot(region).to(torch.float64)
        means = pool_finite(problem, explanation, self.pooling).flatten(2) @ member / member.sum(dim=0)
        largest = means.abs().amax(dim=2, keepdim=True)
        return torch.where(largest == 0, means, (means / largest).round(decimals=DIGITS)) + 0.0


def predicted(problem: Problem) -> Tensor:
    """(B,), int64: the classes that the classifier predicts."""
    if problem.probabilities is not None:
        return problem.probabilities.argmax(dim=1)
    return perturb.logits(problem, len(problem.images), lambda rows: problem.images.index_select(0, rows)).argmax(dim=1)


def share(agreeing: Tensor, others: Tensor) -> Tensor:
    """How many of the others agree, as a share, float32; NaN where there are no others."""
    return torch.where(others > 0, agreeing / others, torch.nan).to(torch.float32)
