"""Whether certain classes are the next most probable ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaibench.claims.base import SHARE, row
from xaibench.claims.explanation_claim import ExplanationClaim
from xaibench.component import Fraction, NonNegativeInt
from xaibench.stats.intervals import crossed_interval
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class NextClasses(ExplanationClaim):
    """Share of (image, seed) in which the named classes, in any order, are the most probable ones after the predicted class.

    In [0, 1]; one row for all named together and one for each of them (among as many next classes as are named). It is about the
    classifier, on the images that were explained: configurations that differ in the explainer give one row.

    Parameters
    ----------
    topic, indices, true_class, correct, confidence
        As for `ExplanationClaim`.
    named
        The classes.
    more_than
        The expected share.
    """

    named: tuple[NonNegativeInt, ...] = ()
    more_than: Fraction = 0.5

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        seen = set()
        for evidence in self.evidence(results):
            names = evidence.names | {"explainer": ""}
            if tuple(names.values()) in seen:
                continue
            seen.add(tuple(names.values()))
            order = (-evidence.probabilities).argsort(axis=2, kind="stable")[..., 1 : 1 + len(self.named)]
            among = (order[..., None] == np.array(self.named)).any(axis=2)
            texts = [evidence.classes[target] for target in self.named]
            found = crossed_interval(among.all(axis=2).T)
            yield row(names, f"share in which the next most probable classes are {' and '.join(texts)}", found, ">", self.more_than, SHARE)
            for position, text in enumerate(texts):
                found = crossed_interval(among[..., position].T)
                yield row(names, f"share in which {text} is among the next {len(texts)}", found, ">", self.more_than, SHARE)
