"""How much of the positive evidence for the predicted class lies on the object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaibench.claims.base import MAGNITUDE, SHARE, row
from xaibench.claims.explanation_claim import ExplanationClaim
from xaibench.component import Fraction
from xaibench.stats.intervals import crossed_interval
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class ObjectMass(ExplanationClaim):
    """Share of the predicted class's positive attributions on pixels of the object, which stands bright on a dark ground.

    Two rows for each configuration, with intervals of images crossed with seeds: the share, in [0, 1]; and the share divided by the
    object's share of the image's pixels, which a map that ignores the object has at 1, and which is expected above it. An image without
    positive attributions has neither.

    Parameters
    ----------
    topic, indices, true_class, correct, confidence
        As for `ExplanationClaim`.
    brighter_than
        Pixels above this intensity are the object.
    """

    brighter_than: Fraction = 0.0

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        for evidence in self.evidence(results):
            own = evidence.targets == evidence.predicted[..., None]
            values = np.maximum(np.where(own[..., None, None], evidence.values, 0).sum(axis=2), 0)
            on_object = evidence.images > self.brighter_than
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.where(on_object, values, 0).sum(axis=(2, 3)) / values.sum(axis=(2, 3))
                ratio = share / on_object.mean(axis=(1, 2))
            text = "share of the predicted class's positive mass on the object"
            yield row(evidence.names, text, crossed_interval(share.T), within=SHARE)
            yield row(evidence.names, "that share / the object's share of all pixels", crossed_interval(ratio.T), ">", 1.0, MAGNITUDE)
