"""Accuracy versus saturation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench import curves
from xaibench.component import PositiveInt
from xaibench.curves import First, Ranking, Ties
from xaibench.maps import Pooling
from xaibench.perturb import Read
from xaibench.problem import Explainer, Explanation, Family, Passes, Problem
from xaibench.removal import Constant
from xaibench.scoring import Metric, Requires, Scores
from xaibench.seeding import Rng
from xaibench.superpixels import Pixels

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
    ties
        How equal relevance is ranked.

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
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL})

    steps: PositiveInt = 28
    pooling: Pooling = "sum"
    ties: Ties = "random"

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """One forward pass for each point of each of the four sequences."""
        points = curves.points(problem, Pixels(), self.steps)
        return Passes(len(DIRECTIONS) * len(ORDERS) * problem.targets.numel() * points)

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        ranked = curves.ranking(problem, explanation, rng, self.pooling, ties=self.ties)
        changed = curves.fractions(ranked, self.steps)
        values: dict[str, Tensor] = {}
        along: dict[str, Tensor] = {}
        for direction in DIRECTIONS:
            most, least = (self._curves(problem, ranked, rng, direction, first) for first in ORDERS)
            for name in most:
                between = curves.area(least[name] - most[name], changed)
                values[f"{direction}_{name}"] = -between if name == "log_loss" else between
            for first, found in zip(ORDERS, (most, least), strict=True):
                along |= {f"{direction}_{name}_{first}_first": curve for name, curve in found.items()}
            values[direction] = values.pop(f"{direction}_accuracy")
        headline = (values["saturate"] + values["desaturate"]) / 2
        return Scores({"value": headline, **values, "tied": ranked.tied}, along, changed)

    def _curves(self, problem: Problem, ranked: Ranking, rng: Rng, direction: str, first: First) -> dict[str, Tensor]:
        """(B, T, S + 1) each."""
        label, removed = problem.labels[:, None].expand(problem.targets.shape), curves.counts(ranked, self.steps)
        reads: tuple[Read, ...] = ("correct", "probability", "log_probability")
        found = curves.curves(problem, ranked, DIRECTIONS[direction], rng, removed, reads, first, label)
        return {"accuracy": found["correct"], "probability": found["probability"], "log_loss": -found["log_probability"]}
