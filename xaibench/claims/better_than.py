"""Whether some explainers score better than others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xaibench.claims.beats_controls import compared
from xaibench.claims.score_claim import ScoreClaim
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class BetterThan(ScoreClaim):
    """How much better an explainer scores than another one, image by image; expected above 0.

    One row for each metric, pair and classifier's configuration, with the interval of images crossed with seeds and, in the note, p of
    Wilcoxon's signed rank test with Holm's correction over all pairs of explainers. It holds, or does not, where the two differ
    significantly (`comparison.pairs`); else it is undecided.

    Parameters
    ----------
    topic, least_accuracy
        As for `ScoreClaim`.
    metrics
        Labels in the study.
    explainers, than
        The labels of the pairs.
    """

    metrics: tuple[str, ...] = ()
    explainers: tuple[str, ...] = ()
    than: tuple[str, ...] = ()

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        for metric in self.metrics:
            for scored in self.scored(results, metric):
                verdict = compared(scored)
                for first, second in zip(self.explainers, self.than, strict=True):
                    if {first, second} <= scored.by_explainer.keys():
                        yield verdict(first, second, f"{metric} better than that of {second}")
