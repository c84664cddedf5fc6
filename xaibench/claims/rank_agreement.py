"""Whether two metrics put explainers in the same order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from scipy import stats

from xaibench.claims.base import over_seeds, row
from xaibench.claims.score_claim import ScoreClaim
from xaibench.longtable import Results


@dataclass(frozen=True, kw_only=True)
class RankAgreement(ScoreClaim):
    """Spearman's rank correlation between the orders in which two metrics put the explainers, better first in both.

    One row for each classifier's configuration: mean over the seeds of the correlation between mean scores, with its interval.

    Parameters
    ----------
    topic, metric, score, least_accuracy
        As for `ScoreClaim`; the first metric.
    other, other_score
        The second metric's label and score.
    controls
        Whether controls take part.
    reference
        A published correlation to stand beside it; null where there is none.
    """

    other: str = ""
    other_score: str = "value"
    controls: bool = False
    reference: float | None = None

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        seconds = {tuple(scored.names.values()): scored for scored in self.scored(results, self.other, self.other_score)}
        for first in self.scored(results, self.metric, self.score):
            second = seconds.get(tuple(first.names.values()))
            if second is None:
                continue
            left = self._chosen(first.by_explainer, first.controls)
            shared = [name for name in left if name in second.by_explainer]
            rows = [[list(scored.by_explainer).index(name) for name in shared] for scored in (first, second)]
            pairs = zip(first.means()[rows[0]].T, second.means()[rows[1]].T, strict=True)
            found = over_seeds([stats.spearmanr(one, other).statistic for one, other in pairs])
            names = [f"{metric} {score}".removesuffix(" value") for metric, score in self._pair()]
            text = f"rank correlation of the order of {len(shared)} explainers: {names[0]} against {names[1]}"
            result = row(first.names, text, found, within=(-1.0, 1.0))
            published = "" if self.reference is None else f"published {self.reference:g}"
            yield result | {"note": "; ".join(filter(None, [published, result["note"]]))}

    def _pair(self) -> list[tuple[str, str]]:
        return [(self.metric, self.score), (self.other, self.other_score)]

    def _chosen(self, by_explainer: dict[str, Any], controls: frozenset[str]) -> list[str]:
        return [name for name in by_explainer if self.controls or name not in controls]
