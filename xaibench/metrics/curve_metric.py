"""What the metrics share that follow an output while pixels are removed in the order of their relevance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench import curves
from xaibench.component import PositiveInt
from xaibench.curves import First, Ranking, Ties
from xaibench.maps import Pooling
from xaibench.perturb import Read
from xaibench.problem import Explainer, Explanation, Family, Passes, Problem
from xaibench.removal import Constant, Removal
from xaibench.scoring import Metric, Requires, Scores
from xaibench.seeding import Rng
from xaibench.superpixels import Pixels, Superpixels


@dataclass(frozen=True)
class RemovalMetric(Metric):
    """Numbers that are read off such curves, at whatever points.

    Attributes
    ----------
    orders
        Of the class: which ends of the ranking go first, one curve each.
    keeps
        Of the class: whether the curves are over the fraction kept, not over the fraction removed.

    Parameters
    ----------
    removal
        What a removed pixel becomes. Scores under different operators are not comparable.
    superpixels
        The regions that are ranked, by the mean of their pixels, and removed as a whole; pixels by default.
    pooling
        How a pixel's channels become one number.
    ties
        How equal relevance is ranked.
    output
        What is read of the target along the curve; areas under logits and log-odds have no bounds.
    """

    family: ClassVar[Family] = Family.FAITHFULNESS
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL})
    orders: ClassVar[tuple[First, ...]] = ("most",)
    keeps: ClassVar[bool] = False

    removal: Removal = Constant(0.0)
    superpixels: Superpixels = Pixels()
    pooling: Pooling = "sum"
    ties: Ties = "random"
    output: Read = "probability"

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs a model, and the background that the removal may need."""
        return super().unsupported(problem, explainer) or self.removal.unsupported(problem)

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """One forward pass for each (image, target), curve, point, and draw of the removal."""
        evaluated = len(self.sequences()) * self.points(problem)
        return Passes(problem.targets.numel() * evaluated * self.removal.draws(problem))

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        ranked = curves.ranking(problem, explanation, rng, self.pooling, self.superpixels, self.ties)
        removed, axis = self.removed(ranked)
        found, compared = dict[First, Tensor](), dict[First, Tensor]()
        for first in self.sequences():
            pair = self.followed(problem, ranked, removed, rng, first)
            found[first], compared[first] = (curve.flip(-1) if self.keeps else curve for curve in pair)
        names = {first: f"{self.output}_{first}_first" if len(found) > 1 else self.output for first in found}
        along = {names[first]: curve for first, curve in found.items()}
        return Scores({**self.values(compared, axis), "tied": ranked.tied}, along, axis)

    def sequences(self) -> tuple[First, ...]:
        """Which ends of the ranking go first, one curve each."""
        return self.orders

    def followed(self, problem: Problem, ranked: Ranking, removed: Tensor, rng: Rng, first: First) -> tuple[Tensor, Tensor]:
        """(B, T, S + 1) each: the output while pixels are removed, and what `values` takes of it, by default the same."""
        curve = curves.curves(problem, ranked, self.removal, rng, removed, (self.output,), first)[self.output]
        return curve, curve

    @abstractmethod
    def points(self, problem: Problem) -> int:
        """S + 1, the points of a curve."""

    @abstractmethod
    def removed(self, ranked: Ranking) -> tuple[Tensor, Tensor]:
        """How many regions go, (B, S + 1), and the axis, (S + 1,), the fraction that goes or, if `keeps`, stays: both ascend."""

    @abstractmethod
    def values(self, along: Mapping[First, Tensor], axis: Tensor) -> dict[str, Tensor]:
        """The scores (B, T) by name, `value` among them, of curves (B, T, S + 1), see `followed`, over the axis (S + 1,)."""


@dataclass(frozen=True)
class CurveMetric(RemovalMetric):
    """Numbers that are read off curves with equal steps.

    Parameters
    ----------
    steps
        Number of equal fractions, at most one for each region; a curve has `steps + 1` points, 0 % and 100 % included.
    """

    steps: PositiveInt = 28

    def points(self, problem: Problem) -> int:
        """One for each step, and the start."""
        return curves.points(problem, self.superpixels, self.steps)

    def removed(self, ranked: Ranking) -> tuple[Tensor, Tensor]:
        """Equal fractions."""
        return curves.counts(ranked, self.steps), curves.fractions(ranked, self.steps, put_back=self.keeps)
