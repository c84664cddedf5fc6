"""The most, second and least likely class of single images."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from xaibench.claims.base import over_seeds, row
from xaibench.claims.explanation_claim import ExplanationClaim
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class LikelyClasses(ExplanationClaim):
    """Probabilities of the most, second and least likely class of each chosen image.

    Means over seeds with the t interval over seeds, both taken on log odds, since these probabilities lie orders of magnitude apart.
    Nothing is expected of them. The note says which classes they are, and with how many seeds.

    Parameters
    ----------
    topic, indices, true_class, correct, confidence
        As for `ExplanationClaim`.
    """

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Report the probabilities."""
        seen = set()
        for evidence in self.evidence(results):
            names = evidence.names | {"explainer": ""}
            if tuple(names.values()) in seen:
                continue
            seen.add(tuple(names.values()))
            for image, (index, label) in enumerate(zip(evidence.index, evidence.labels, strict=True)):
                order = (-evidence.probabilities[:, image]).argsort(axis=1, kind="stable")
                for text, place in (("most", 0), ("second most", 1), ("least", -1)):
                    values = np.take_along_axis(evidence.probabilities[:, image], order[:, [place]], axis=1)[:, 0]
                    odds = over_seeds(logit(values.clip(1e-300, 1 - 1e-16)))
                    found = dataclasses.replace(odds, mean=expit(odds.mean), low=expit(odds.low), high=expit(odds.high))
                    counts = Counter(evidence.classes[chosen] for chosen in order[:, place])
                    which = ", ".join(f"{name} ({count} of {len(values)} seeds)" for name, count in counts.most_common())
                    claim = f"test image {index}, true class {evidence.classes[label]}: probability of the {text} likely class"
                    yield row(names, claim, found) | {"note": which}
