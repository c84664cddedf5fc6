"""Minimal sufficient subset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench import curves
from xaibench.component import Fraction, PositiveInt
from xaibench.curves import First, Ranking
from xaibench.metrics.curve_metric import CurveMetric
from xaibench.perturb import Read
from xaibench.problem import Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class MinimalSubset(CurveMetric):
    """The smallest fraction of the most relevant pixels that, kept alone, gives back most of the target's probability.

    Pixels are ranked by attribution pooled over channels (ties: a permutation drawn for each image); all are handed to `removal`, and they
    come back, the most relevant first, in `steps` equal fractions, until the output reaches `share` of that of the whole image. With
    the output `correct` they come back until the target is predicted. Fields: see `CurveMetric`.

    Parameters
    ----------
    share
        Of the whole image's output, that is to be reached.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1], a multiple of 1 / `steps` as nearly as whole pixels allow; lower is better. It is the first such
        fraction: the output may fall below again. 0 where the image without any pixel reaches the threshold, and at most 1, as the whole
        image does. `tied`: (B, T), share of pixels whose place in the ranking was drawn. Curve, named as `output`: (B, T, steps + 1), over
        the fraction kept. NaN where the attributions hold a NaN, the classifier gives one, or, for `correct`, the target is not what is
        predicted for the whole image.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Carter et al., What made you do this? Understanding black-box decisions with sufficient input subsets, AISTATS 2019 (arXiv:1810.03805).
    Differs: the subsets come from the explanation's ranking, not from backward selection by the classifier, and the threshold is
    relative to the whole image's output.
    """

    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Carter et al., 2019 (arXiv:1810.03805)"
    orders: ClassVar[tuple[First, ...]] = ("least",)
    keeps: ClassVar[bool] = True

    output: Literal["probability", "correct"] = "probability"
    steps: PositiveInt = 100
    share: Fraction = 0.9

    def followed(self, problem: Problem, ranked: Ranking, removed: Tensor, rng: Rng, first: First) -> tuple[Tensor, Tensor]:
        """Logarithms of probabilities are compared: the probability itself may be less than float32 resolves."""
        if self.output == "correct":
            return super().followed(problem, ranked, removed, rng, first)
        reads: tuple[Read, ...] = ("probability", "log_probability")
        found = curves.curves(problem, ranked, self.removal, rng, removed, reads, first, log_of_mean=True)
        return found["probability"], found["log_probability"]

    def values(self, along: Mapping[First, Tensor], axis: Tensor) -> dict[str, Tensor]:
        """The first fraction that reaches the threshold."""
        curve, logs = along["least"], self.output == "probability"
        whole = curve[..., -1:]
        threshold = whole + (math.log(self.share) if self.share else -math.inf) if logs else self.share * whole
        reached = (curve >= threshold).to(torch.uint8).argmax(dim=2)  # the first of the largest
        defined = (whole[..., 0] > (-math.inf if logs else 0)) & ~curve.isnan().any(dim=2)
        return {"value": torch.where(defined, axis.to(curve.dtype)[reached], torch.nan)}
