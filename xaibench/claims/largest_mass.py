"""Whether the predicted class gets the most positive evidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaibench.claims.base import SHARE, row
from xaibench.claims.explanation_claim import ExplanationClaim
from xaibench.component import Fraction
from xaibench.stats.intervals import crossed_interval
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class LargestMass(ExplanationClaim):
    """Share of (image, seed) in which the predicted class has the largest sum of positive attributions, in [0, 1].

    A tie counts as not the largest. One row for each configuration, with the interval of images crossed with seeds.

    Parameters
    ----------
    topic, indices, true_class, correct, confidence
        As for `ExplanationClaim`.
    at_least
        The expected share.
    """

    at_least: Fraction = 0.9

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        for evidence in self.evidence(results):
            mass = np.maximum(evidence.values, 0).sum(axis=(3, 4))
            own = evidence.targets == evidence.predicted[..., None]
            largest = np.where(own, mass, -np.inf).max(axis=2) > np.where(own, -np.inf, mass).max(axis=2)
            text = "share in which the predicted class has the largest positive mass"
            yield row(evidence.names, text, crossed_interval(largest.T), ">=", self.at_least, SHARE)
