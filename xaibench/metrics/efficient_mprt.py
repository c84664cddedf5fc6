"""Efficient model parameter randomization test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import annotated_types
import torch
from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.explaining import declared_passes
from xaibench.maps import Pooling, pool_finite
from xaibench.metrics import reexplanation
from xaibench.metrics.randomization import find, layers, randomized, seeds, times
from xaibench.problem import Attributions, Explainer, Explanation, Family, Passes, Problem
from xaibench.scoring import Metric, Requires, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class EfficientMprt(Metric):
    """How much more complex the map gets, relatively, when all parameters of the classifier are random.

    (H(randomized map) - H(map)) / H(map), H the entropy in nats of the histogram of a map's values, over `bins` equal bins from its
    smallest to its largest. No two maps are compared, and the classifier is randomized once, all layers at a time (see
    `LayerRandomization` for how).

    Parameters
    ----------
    bins
        Of the histograms.
    absolute
        Whether histograms are taken of absolute values, not of signed ones.
    pooling
        How a pixel's channels become one number, of which the absolute value is taken.
    randomizations
        Independent random parameters; entropies are averaged over them.

    Returns
    -------
    Scores
        `value`: (B, T), -1 or more; higher is better: an explanation of what was learned is simpler than one of noise, and 0 is what a
        method that ignores the parameters has. `entropy`, `randomized_entropy`: in [0, log(bins)]. NaN where a map is constant, or holds
        a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, the explanation cannot explain again, or a layer cannot be
        initialized again.

    References
    ----------
    Hedstroem, Weber, Lapuschkin and Hoehne, Sanity checks revisited, 2024 (arXiv:2401.06465), section on efficient MPRT; 100 bins. Differs:
    the same number of bins for all maps, each over its own range (which makes a prior normalization of the map void).
    """

    family: ClassVar[Family] = Family.RANDOMIZATION
    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Hedstroem et al., 2024 (arXiv:2401.06465)"
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL, Requires.EXPLAINER})

    bins: Annotated[int, annotated_types.Ge(2)] = 100
    absolute: bool = True
    pooling: Pooling = "sum"
    randomizations: PositiveInt = 1

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Every layer must be one that can be initialized again."""
        reason = super().unsupported(problem, explainer)
        found = find(problem) if reason is None else []
        return found if isinstance(found, str) else reason

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """Those of the explainer for each randomization, and one forward pass that finds the layers."""
        return times(self.randomizations, declared_passes(explainer, problem)) + Passes(forward=1)

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        found = layers(problem)
        before = self._entropy(problem, explanation.values)
        after = torch.zeros_like(before)
        for repetition in seeds(rng, self.randomizations, len(found)):
            network = randomized(problem.classifier, zip(found, repetition, strict=True))
            after += self._entropy(problem, reexplanation.explained(reexplanation.with_model(problem, network), explanation))
        after /= self.randomizations
        values = {"value": (after - before) / before, "entropy": before, "randomized_entropy": after}
        return Scores({name: value.to(torch.float32) for name, value in values.items()})

    def _entropy(self, problem: Problem, values: Tensor) -> Tensor:
        """(B, T), float64, nats."""
        maps = pool_finite(problem, Attributions(values), self.pooling).flatten(2)
        maps = maps.abs() if self.absolute else maps
        least, most = maps.amin(2, keepdim=True), maps.amax(2, keepdim=True)
        defined = maps.isfinite().all(2, keepdim=True) & (least < most)
        place = ((maps - least) / (most - least) * self.bins).clamp(max=self.bins - 1)
        place = place.masked_fill(~defined, 0).to(torch.int64)
        counts = maps.new_zeros(*maps.shape[:2], self.bins).scatter_add_(2, place, torch.ones_like(maps))
        shares = counts / maps.shape[2]
        return -torch.xlogy(shares, shares).sum(2).masked_fill(~defined[..., 0], torch.nan)
