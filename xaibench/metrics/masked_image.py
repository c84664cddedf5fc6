"""What the metrics share that show the classifier an image multiplied by its map."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.maps import Pooling, pool_finite
from xaibench.metrics.subsets import unaltered
from xaibench.problem import Explainer, Explanation, Family, Passes, Problem
from xaibench.removal import Constant, Removal, several_draws
from xaibench.scoring import Metric, Requires, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class MaskedImageMetric(Metric):
    """A number read off the target's probability before and after.

    Parameters
    ----------
    negative
        What becomes of negative attributions: "zero" keeps the positive part, "abs" takes magnitudes, "keep" leaves them as they are. Then
        each map is scaled on its own, its smallest value to 0 and its largest to 1.
    removal
        What a pixel of weight 0 becomes; one of weight w is w x + (1 - w) x0, with black x0 the product of image and map.
    pooling
        How a pixel's channels become one number.
    """

    family: ClassVar[Family] = Family.FAITHFULNESS
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL})

    negative: Literal["zero", "abs", "keep"] = "zero"
    removal: Removal = Constant(0.0)
    pooling: Pooling = "sum"

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs a model, and a removal with one version of a pixel, whatever its neighbors."""
        alone = None if self.removal.local else f"{self.removal} needs to know which pixels are gone, and here they are weighted"
        return super().unsupported(problem, explainer) or self.removal.unsupported(problem) or several_draws(self.removal, problem) or alone

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """One forward pass for each image, and one for each (image, target)."""
        return Passes(len(problem.images) + problem.targets.numel())

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        weights, (batch, targets) = self.weights(problem, explanation), problem.targets.shape
        empty = self.removal(problem.images, torch.zeros_like(problem.images[:, :1], dtype=torch.bool), problem)

        def make(pair: Tensor) -> Tensor:
            row = pair // targets
            return torch.lerp(empty.index_select(0, row), problem.images.index_select(0, row), weights.index_select(0, pair))

        before = perturb.values(problem, 1, unaltered(problem), "log_odds")[..., 0]
        logits = perturb.logits(problem, batch * targets, make)
        after = perturb.read(logits, problem.targets.flatten()[:, None], "log_odds").reshape(batch, targets)
        defined = ~(weights.flatten(1).isnan().any(dim=1).reshape(batch, targets) | before.isnan() | after.isnan())
        score = self.score(before.to(torch.float64), after.to(torch.float64)).to(torch.float32)
        return Scores({"value": torch.where(defined, score, torch.nan)})

    @abstractmethod
    def score(self, before: Tensor, after: Tensor) -> Tensor:
        """(B, T), of the log-odds of the target, float64, for the image and for the image times its map.

        Log-odds resolve probabilities near 0 and near 1, where most of a good classifier's are.
        """

    def weights(self, problem: Problem, explanation: Explanation) -> Tensor:
        """(B T, 1, H, W), float32, in [0, 1]; NaN for a map that is constant or not finite."""
        maps = pool_finite(problem, explanation, self.pooling).flatten(0, 1)
        maps = maps.clamp_min(0) if self.negative == "zero" else maps.abs() if self.negative == "abs" else maps
        smallest, largest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        return ((maps - smallest) / (largest - smallest)).to(torch.float32)[:, None]
