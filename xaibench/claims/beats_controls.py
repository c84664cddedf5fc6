"""Whether explainers score better than the best control."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xaibench.claims.base import row
from xaibench.claims.score_claim import ScoreClaim
from xaibench.longtable import Results
from xaibench.stats import crossed_interval


@dataclass(frozen=True, kw_only=True)
class BeatsControls(ScoreClaim):
    """How much better an explainer scores than the best control, image by image; expected above 0.

    The best control is the one with the best mean on the same classifier, which the note tells. One row for each explainer, with the
    interval of images crossed with seeds.

    Parameters
    ----------
    topic, least_accuracy
        As for `ScoreClaim`.
    metric, score
        The metric's label in the study, and which of its scores.
    """

    metric: str = ""
    score: str = "value"

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        for scored in self.scored(results, self.metric, self.score):
            control = scored.best_control()
            if control is None:
                continue
            best, mean = control
            for name, values in scored.by_explainer.items():
                if name not in scored.controls:
                    found = crossed_interval(scored.sign * (values - scored.by_explainer[best]))
                    text = f"{self.metric} better than that of the best control, {best}"
                    checked = row(scored.names | {"explainer": name}, text, found, ">")
                    yield checked | {"note": "; ".join(filter(None, [f"{best} {mean:.3g}", checked["note"]]))}
