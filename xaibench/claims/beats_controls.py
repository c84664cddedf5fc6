"""Whether explainers score better than the best control."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from xaibench.claims.base import row
from xaibench.claims.score_claim import ScoreClaim
from xaibench.stats.comparison import pairs
from xaibench.stats.intervals import crossed_interval
from xaibench.stats.paired import Scored
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class BeatsControls(ScoreClaim):
    """How much better an explainer scores than the best control, image by image; expected above 0.

    The best control is the one with the best mean on the same classifier, which the note tells. One row for each explainer, with the
    interval of images crossed with seeds and, in the note, p of Wilcoxon's signed rank test with Holm's correction over all pairs of
    explainers. It holds, or does not, where the two differ significantly (`comparison.pairs`); else it is undecided.

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
            yield from beside(scored)


def beside(scored: Scored) -> Iterator[dict[str, Any]]:
    """Each explainer that is no control beside the best control."""
    control = scored.best_control()
    if control is None:
        return
    best, mean = control
    verdicts = compared(scored)
    for name in scored.by_explainer:
        if name not in scored.controls:
            checked = verdicts(name, best, f"{scored.metric} better than that of the best control, {best}")
            yield checked | {"note": "; ".join(filter(None, [f"{best} {mean:.3g}", checked["note"]]))}


def compared(scored: Scored) -> Callable[[str, str, str], dict[str, Any]]:
    """What makes the row of two explainers, with a claim's text: how much better the first is, decided where they differ significantly."""
    found = pairs(scored)
    tests = found.set_index(["first", "second"])[["p_holm", "differs"]].to_dict("index") if len(found) else {}

    def verdict(first: str, second: str, claim: str) -> dict[str, Any]:
        better = crossed_interval(scored.sign * (scored.by_explainer[first] - scored.by_explainer[second]))
        test = tests.get((first, second)) or tests[second, first]
        checked = row(scored.names | {"explainer": first}, claim, better, ">")
        p = "" if math.isnan(test["p_holm"]) else "p < .001" if test["p_holm"] < 0.001 else f"p = {test['p_holm']:.3f}"
        return checked | {
            "holds": checked["holds"] if test["differs"] else None,
            "note": "; ".join(filter(None, [p, checked["note"]])),
        }

    return verdict
