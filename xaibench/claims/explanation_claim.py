"""Claims about explanations of some of the explained images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xaibench.claims.base import Claim
from xaibench.claims.evidence import Evidence, evidences
from xaibench.component import Fraction, NonNegativeInt
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class ExplanationClaim(Claim):
    """A claim about the explanations of the images that meet all conditions; every seed sees the same images.

    Parameters
    ----------
    topic
        A heading in plain words.
    indices
        Positions in the test set; null takes all explained images.
    true_class
        Only images of this class.
    correct
        Only images that every seed classifies rightly (true), or that every seed gets wrong (false).
    confidence
        Only images whose predicted class has a probability, averaged over seeds, from the first to the second number.
    """

    indices: tuple[NonNegativeInt, ...] | None = None
    true_class: NonNegativeInt | None = None
    correct: bool | None = None
    confidence: tuple[Fraction, Fraction] = (0.0, 1.0)

    def evidence(self, results: Results) -> Iterator[Evidence]:
        """The explanations of each configuration, on the chosen images; a configuration without such images is left out."""
        for everything in evidences(results):
            chosen = self.choose(everything)
            if len(chosen.index):
                yield chosen

    def choose(self, evidence: Evidence) -> Evidence:
        """The images that meet all conditions."""
        keep = np.ones(len(evidence.index), dtype=bool)
        if self.indices is not None:
            keep &= np.isin(evidence.index, self.indices)
        if self.true_class is not None:
            keep &= evidence.labels == self.true_class
        if self.correct is not None:
            keep &= ((evidence.predicted == evidence.labels) == self.correct).all(axis=0)
        certainty = evidence.probabilities.max(axis=2).mean(axis=0)
        keep &= (self.confidence[0] <= certainty) & (certainty <= self.confidence[1])
        return evidence.take(keep)
