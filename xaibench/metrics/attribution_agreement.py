"""Agreement of counterfactuals with attributions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import ConfigurationError, NonNegativeFloat
from xaibench.explaining import declared_passes, explained
from xaibench.maps import pool
from xaibench.metrics.changed_pixels import TOLERANCE, changed
from xaibench.metrics.correlations import mean_ranks, pearson
from xaibench.metrics.counterfactual_metric import CounterfactualMetric, Found
from xaibench.problem import Attributions, Counterfactuals, Explainer, Passes, Problem, Training
from xaibench.scoring import Requires
from xaibench.seeding import Rng


@dataclass(frozen=True)
class AttributionAgreement(CounterfactualMetric):
    """Chance that a changed pixel has a higher attribution for the predicted class than an unchanged one, ties counted half.

    It is the area under the receiver operating characteristic of the absolute attribution (the sum over channels), taken as a detector of
    the pixels that the counterfactual changed; 1/2 is chance. Neither end is right: a counterfactual changes what stands in the way of the
    target, which need not be what speaks for the predicted class; it tells whether the two explanations look at the same pixels.

    Parameters
    ----------
    reference
        Gives the attributions, of the predicted class.
    tolerance
        A pixel has changed if any channel has by more than this, in units of [0, 1].

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; neither direction is better. NaN where no pixel or every pixel has changed. `rank_correlation`:
        Spearman's, of absolute attribution and absolute change (both summed over channels) over all pixels, in [-1, 1]; NaN where either
        is the same for all pixels. Both are NaN where no counterfactual was found, or the map holds a NaN or an infinite value.

    Raises
    ------
    ConfigurationError
        If the reference does not give attributions.
    ValueError
        If counterfactuals and problem differ in images, targets or shape, or the problem has no probabilities.

    References
    ----------
    Kommiya Mothilal et al., Towards unifying feature attribution and counterfactual explanations, AIES 2021 (arXiv:2011.04917). Differs:
    they ask whether the features ranked first by an attribution are necessary and sufficient for a change; here all pixels are ranked, and
    those that did change are sought among them. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 2006, section 7.
    """

    higher_is_better: ClassVar[bool | None] = None
    paper: ClassVar[str] = "Kommiya Mothilal et al., 2021 (arXiv:2011.04917)"
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL})

    reference: Explainer
    tolerance: NonNegativeFloat = TOLERANCE

    def __post_init__(self) -> None:
        """Raise unless the reference gives attributions."""
        super().__post_init__()
        if self.reference.gives is not Attributions:
            raise ConfigurationError(f"{type(self).__name__}.reference={self.reference!r}: expected an explainer that gives attributions")

    def needs(self, training: Training, explainer: Explainer[Counterfactuals]) -> Mapping[str, Training]:
        """Those of the reference."""
        return self.reference.needs(training)

    def unsupported(self, problem: Problem, explainer: Explainer[Counterfactuals]) -> str | None:
        """What the reference cannot explain."""
        return super().unsupported(problem, explainer) or self.reference.unsupported(_of_predicted(problem))

    def passes(self, problem: Problem, explainer: Explainer[Counterfactuals]) -> Passes:
        """Those of the reference, for the predicted class of each image."""
        return declared_passes(self.reference, _of_predicted(problem))

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """See `CounterfactualMetric`."""
        own = Rng(rng.seed, rng.draw, type(self.reference).__name__)
        alone = _of_predicted(problem)
        maps = pool(alone, explained(self.reference, alone, own), "abs_sum").flatten(1)
        maps = torch.where(maps.isfinite().all(dim=1, keepdim=True), maps, torch.nan)
        ranks, there = mean_ranks(maps)[found.row], changed(found, self.tolerance).flatten(1)
        inside = there.sum(dim=1)
        wins = (ranks * there).sum(dim=1) - inside * (inside - 1) / 2  # without those among the changed pixels themselves
        size = found.changes.abs().sum(dim=1).flatten(1)
        return {"value": wins / (inside * (there.shape[1] - inside)), "rank_correlation": pearson(ranks, mean_ranks(size))}


def _of_predicted(problem: Problem) -> Problem:
    """The problem with the predicted class of each image as its only target."""
    if problem.probabilities is None:
        raise ValueError("Problem.probabilities=None: expected those of the classifier, which tell the predicted class")
    return replace(problem, targets=problem.probabilities.argmax(1, keepdim=True), masks=None)
