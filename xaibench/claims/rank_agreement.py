"""Whether two metrics put explainers in the same order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from scipy import stats

from xaibench.claims.base import over_seeds, row
from xaibench.claims.score_claim import ScoreClaim
from xaibench.component import ConfigurationError
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class RankAgreement(ScoreClaim):
    """Spearman's rank correlation between the orders in which two metrics put the explainers, better first in both.

    One row for each pair of metrics and classifier's configuration: mean over the seeds of the correlation between mean scores, with its
    interval. Controls take no part.

    Parameters
    ----------
    topic, least_accuracy
        As for `ScoreClaim`.
    first, second
        The metrics' labels in the study, pair by pair.
    published
        A published correlation for each pair to stand beside it; none where it is empty.
    """

    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    published: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.first) != len(self.second) or len(self.published) not in (0, len(self.first)):
            raise ConfigurationError(f"RankAgreement.second={self.second}: expected one for each of {self.first}, and so for `published`")

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        published = [f"published {value:g}" for value in self.published] or [""] * len(self.first)
        for one, other, told in zip(self.first, self.second, published, strict=True):
            others = {tuple(scored.names.values()): scored for scored in self.scored(results, other)}
            for scored in self.scored(results, one):
                against = others.get(tuple(scored.names.values()))
                if against is not None:
                    shared = [name for name in scored.by_explainer if name in against.by_explainer and name not in scored.controls]
                    if len(shared) < 2:
                        continue
                    means = [each.means(shared).T for each in (scored, against)]
                    images = min(len(each.shared(shared)) for each in (scored, against))
                    found = over_seeds([stats.spearmanr(*pair).statistic for pair in zip(*means, strict=True)])
                    text = f"rank correlation of the order of {len(shared)} explainers: {one} against {other}"
                    result = row(scored.names, text, found, within=(-1.0, 1.0))
                    yield result | {"images": images, "note": "; ".join(filter(None, [told, result["note"]]))}
