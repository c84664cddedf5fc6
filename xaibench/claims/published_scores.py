"""Scores beside published ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from scipy import stats

from xaibench.claims.base import over_seeds, row
from xaibench.claims.score_claim import ScoreClaim
from xaibench.component import ConfigurationError
from xaibench.stats.intervals import crossed_interval
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class PublishedScores(ScoreClaim):
    """Mean scores of explainers beside published ones, and whether the order of the explainers is the published one.

    One row for each explainer, without a verdict, and one with Spearman's rank correlation between both orders: its mean over the seeds
    with its interval, expected to be `agreement` or more.

    Parameters
    ----------
    topic, least_accuracy, datasets
        As for `ScoreClaim`.
    metric, score
        The metric's label in the study, and which of its scores.
    explainers, values
        The explainers' labels in the study, and their published scores.
    agreement
        The rank correlation that counts as the same order.
    """

    metric: str = ""
    score: str = "value"
    explainers: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    agreement: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.explainers) != len(self.values) or len(self.values) < 3:
            raise ConfigurationError(f"PublishedScores.values={self.values}: expected one for each of {self.explainers}, three or more")

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        for scored in self.scored(results, self.metric, self.score):
            known = [(name, value) for name, value in zip(self.explainers, self.values, strict=True) if name in scored.by_explainer]
            for name, value in known:
                found = row(scored.names | {"explainer": name}, f"{self.metric} {self.score}", crossed_interval(scored.by_explainer[name]))
                yield found | {"note": "; ".join(filter(None, [f"published {value:g}", found["note"]]))}
            if len(known) >= 3:
                names = [name for name, _ in known]
                means = scored.sign * scored.means(names)
                agreement = [stats.spearmanr(seed, [value for _, value in known]).statistic for seed in means.T]
                text = f"rank correlation of the {len(known)} explainers' order with the published one, {self.metric} {self.score}"
                found = row(scored.names, text, over_seeds(agreement), ">=", self.agreement, (-1.0, 1.0))
                yield found | {"images": len(scored.shared(names))}
