"""Accuracy versus saturation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.component import PositiveInt
from xaibench.perturb import First, Pooling, Ranking
from xaibench.problem import Explainer, Explanation, Family, Metric, Passes, Problem, Scores
from xaibench.removal import Constant
from xaibench.seeding import Rng

DIRECTIONS = {"saturate": Constant(1.0), "desaturate": Constant(0.0)}
ORDERS: tuple[First, First] = ("most", "least")


@dataclass(frozen=True)
class AccuracyVsSaturation(Metric):
    """How much longer a classifier stays right when the least relevant pixels are set to 1, or to 0, first than when the most relevant are.

    Pixels are ranked by attribution pooled over channels (ties: a permutation drawn for each image) and set to 1 ("saturate") or to 0
    ("desaturate") in `steps` equal fractions, once the most relevant first and once the least relevant first. Along each of the four
    sequences stand: whether the predicted class (the first of those with the largest logit) is the true one, 0 or 1, whose mean over
    images is the accuracy; the probability of the true class; and its log loss in nats. All are about the true class, whichever target
    was explained.

    Parameters
    ----------
    steps
        Number of equal fractions, at most one for each pixel; a curve has `steps + 1` points, 0 % and 100 % included.
    pooling
        How a pixel's channels become one number.

    Returns
    -------
    Scores
        All (B, T). `saturate`, `desaturate`: area between the accuracy curves, least relevant first minus most relevant first, in [-1, 1];
        a ranking without information has 0 in the mean. `value`: the mean of the two. `<direction>_probability`: the same area for the
        probability of the true class, in [-1, 1]. `<direction>_log_loss`: for the log loss the other way round, most relevant first minus
        least relevant first, in nats, unbounded. Higher is better for all of them. `tied`: share of pixels whose place in the ranking
        was drawn. Curves `<direction>_<accuracy | probability | log_loss>_<most | least>_first`: (B, T, steps + 1), over the fraction of
        pixels changed. NaN where the attributions hold a NaN, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.
    """

    family: ClassVar[Family] = Family.FAITHFULNESS
    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1

    steps: PositiveInt = 28
    pooling: Pooling = "sum"

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs a model."""
        return perturb.without_model(problem)

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each point of each of the four sequences."""
        return Passes(len(DIRECTIONS) * len(ORDERS) * perturb.curve_passes(problem, self.steps).forward)

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        ranked = perturb.ranking(problem, explanation, rng, self.pooling)
        changed = perturb.fractions(problem, self.steps)
        values: dict[str, Tensor] = {}
        curves: dict[str, Tensor] = {}
        for direction in DIRECTIONS:
            most, least = (self._curves(problem, ranked, direction, first) for first in ORDERS)
            for name in most:
                between = perturb.area(least[name] - most[name], changed)
                values[f"{direction}_{name}"] = -between if name == "log_loss" else between
            for first, found in zip(ORDERS, (most, least), strict=True):
                curves |= {f"{direction}_{name}_{first}_first": curve for name, curve in found.items()}
            values[direction] = values.pop(f"{direction}_accuracy")
        headline = (values["saturate"] + values["desaturate"]) / 2
        return Scores({"value": headline, **values, "tied": ranked.tied}, curves, changed)

    def _curves(self, problem: Problem, ranked: Ranking, direction: str, first: First) -> dict[str, Tensor]:
        """(B, T, S + 1) each."""
        logits = perturb.curves(problem, ranked, DIRECTIONS[direction], self.steps, first)
        label = problem.labels[:, None].expand(problem.targets.shape)
        right = (logits.argmax(dim=-1) == label[..., None]).to(logits.dtype)
        return {
            "accuracy": torch.where(logits.isnan().any(dim=-1), torch.nan, right),  # argmax would take a NaN for the largest
            "probability": perturb.outputs(logits, label, "probability"),
            "log_loss": -perturb.outputs(logits, label, "log_probability"),
        }
