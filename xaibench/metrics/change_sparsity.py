"""Sparsity of a counterfactual's change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import NonNegativeFloat
from xaibench.metrics.changed_pixels import TOLERANCE, changed
from xaibench.metrics.counterfactual_metric import CounterfactualMetric, Found
from xaibench.problem import Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class ChangeSparsity(CounterfactualMetric):
    """Share of the pixels that a counterfactual leaves as they are.

    Parameters
    ----------
    tolerance
        A pixel is left as it is if no channel changes by more than this, in units of [0, 1].

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; higher is sparser, hence better. NaN where no counterfactual was found.

    Raises
    ------
    ValueError
        If counterfactuals and problem differ in images, targets or shape, or the problem has no probabilities.

    References
    ----------
    Mothilal, Sharma and Tan, Explaining Machine Learning Classifiers through Diverse Counterfactual Explanations, FAT* 2020
    (arXiv:1905.07697). Differs: a pixel, of whatever many channels, is one feature; equal means equal up to `tolerance`.
    """

    higher_is_better: ClassVar[bool | None] = True
    paper: ClassVar[str] = "Mothilal, Sharma and Tan, 2020 (arXiv:1905.07697)"

    tolerance: NonNegativeFloat = TOLERANCE

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """The share for each."""
        return {"value": 1 - changed(found, self.tolerance).to(torch.float32).mean(dim=(1, 2))}
