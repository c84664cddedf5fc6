"""Whether metrics agree about explainers: rank correlations between them, and how far all of them go together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from xaibench import markdown as md
from xaibench.stats.intervals import Floats, ranks_of, resampled_interval
from xaibench.stats.paired import Scored, by_classifier, complete

RESAMPLES = 200
MOST_COLUMNS = 12
"""Metrics whose matrix is printed."""
FEWEST = 3
"""Explainers, below which an order says nothing."""

NOTE = """Spearman's rank correlation between the orders that two metrics give the explainers (means over images, better first), mean over
seeds. W: Kendall's coefficient of concordance of all metrics of the family, or of all, as judges of the explainers, 1 where all give one
order; alpha: Krippendorff's, for ordinal ranks, 0 where they agree as by chance, below 0 where they contradict each other. Interval: 95
%, of the bootstrap over images, the same for all metrics, and of the seeds. A metric orders the explainers that it is defined for on at
least half of the images, two metrics are compared by those that both order, and W and alpha by as many as all of their metrics order:
what lacks most is left out, as named."""


def metric_agreement(scored: Sequence[Scored]) -> pd.DataFrame:
    """Of the metrics on one classifier's configuration: one row for each pair, and for each family and all together two rows.

    Parameters
    ----------
    scored
        Each metric's scores.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `trainer`; `kind`: "spearman", "W" or "alpha"; `first`, `second`: the metrics, or the family and nothing;
        `metrics`, `explainers`, their numbers; `left_out`, the family's metrics that lack too many explainers, see `paired.complete`;
        `value` with `low` and `high`. A pair's correlation is that over the explainers that are usable for both.
    """
    judges = [Judge.of(one) for one in scored]
    judges = [one for one in judges if len(one.places) >= FEWEST and one.means.size]
    if len(judges) < 2:
        return pd.DataFrame()
    rows: list[dict[str, Any]] = []
    for first, second in itertools.combinations(judges, 2):
        shared = tuple(name for name in first.places if name in second.places)
        if len(shared) >= FEWEST:
            known: dict[str, Any] = {"kind": "spearman", "first": first.scored.metric, "second": second.scored.metric}
            known |= {"metrics": 2, "explainers": len(shared), "left_out": ""}
            rows += [known | one for one in _intervals(_spearman(first.ranks(shared), second.ranks(shared))[None], [-1.0])]
    for name, members in _families(judges).items():
        rows += _together(name, members)
    return pd.DataFrame([scored[0].names | row for row in rows])


@dataclass(frozen=True)
class Judge:
    """A metric's means of its usable explainers: of all images, then of images weighed again, for all metrics alike.

    Attributes
    ----------
    means
        (1 + R, seeds, explainers), better is higher; empty where no image has a score of all of them.
    places
        The explainers' positions.
    """

    scored: Scored
    means: Floats
    places: dict[str, int]
    known: dict[tuple[str, ...], Floats]

    @classmethod
    def of(cls, scored: Scored) -> Judge:
        """From the scores, over the images that all usable explainers have a score for."""
        names = scored.usable()
        if not names or not len(scored.shared(names)):
            return cls(scored, np.empty((0, 0, 0)), {}, {})
        return cls(scored, scored.resampled(names, RESAMPLES), {name: place for place, name in enumerate(names)}, {})

    def ranks(self, explainers: tuple[str, ...]) -> Floats:
        """(1 + R, seeds, explainers): their ranks among these, 1 is best; computed once for the same ones."""
        if explainers not in self.known:
            self.known[explainers] = ranks_of(self.means[..., [self.places[name] for name in explainers]])
        return self.known[explainers]


def _together(name: str, judges: Sequence[Judge]) -> Iterator[dict[str, Any]]:
    """The rows of a family's metrics as judges of the explainers that all of them have."""
    by_metric = {one.scored.metric: one for one in judges}
    members, explainers = complete([one.scored for one in judges])
    if len(members) < 2 or len(explainers) < FEWEST:
        return
    ranks = np.stack([by_metric[one.metric].ranks(tuple(explainers)) for one in members])
    left = [metric for metric in by_metric if metric not in {one.metric for one in members}]
    known = {"first": name, "second": "", "metrics": len(members), "explainers": len(explainers), "left_out": " ".join(left)}
    for kind, numbers in zip(("W", "alpha"), _intervals(np.stack([_concordance(ranks), _alpha(ranks)]), [0.0, -1.0]), strict=True):
        yield {"kind": kind} | known | numbers


def _families(judges: Sequence[Judge]) -> dict[str, list[Judge]]:
    """The metrics of each family that has several, and all."""
    names = sorted({one.scored.metric_family for one in judges})
    found = {name: [one for one in judges if one.scored.metric_family == name] for name in names}
    return {name: members for name, members in found.items() if len(members) > 1} | {"all": list(judges)}


def _spearman(first: Floats, second: Floats) -> Floats:
    """(1 + R, seeds): of ranks (1 + R, seeds, explainers); NaN where all tie."""
    one, other = (ranks - ranks.mean(axis=2, keepdims=True) for ranks in (first, second))
    scale = np.sqrt((one**2).sum(axis=2) * (other**2).sum(axis=2))
    return np.divide((one * other).sum(axis=2), scale, where=scale > 0, out=np.full(scale.shape, np.nan))


def _concordance(ranks: Floats) -> Floats:
    """(1 + R, seeds): Kendall's W of ranks (metrics, 1 + R, seeds, explainers), corrected for ties (Kendall and Babington Smith 1939)."""
    judges, explainers = len(ranks), ranks.shape[3]
    spread = ((ranks.sum(axis=0) - judges * (explainers + 1) / 2) ** 2).sum(axis=2)
    own = ((ranks - (explainers + 1) / 2) ** 2).sum(axis=(0, 3))  # without ties m (n^3 - n) / 12
    return np.divide(spread, judges * own, where=own > 0, out=np.full(own.shape, np.nan))


def _alpha(ranks: Floats) -> Floats:
    """(1 + R, seeds): Krippendorff's alpha of ranks (metrics, 1 + R, seeds, explainers).

    The ordinal distance of two ranks is the distance of their midranks among all that are given (Krippendorff 2011). With no rank missing
    the disagreement that is observed is then the variance of an explainer's midranks, mean over the explainers, and the expected one
    that of all midranks.
    """
    judged = np.moveaxis(ranks, 0, 3)
    pooled = stats.rankdata(judged.reshape(*judged.shape[:2], -1), axis=2)
    observed, expected = pooled.reshape(judged.shape).var(axis=3, ddof=1).mean(axis=2), pooled.var(axis=2, ddof=1)
    return 1.0 - np.divide(observed, expected, where=expected > 0, out=np.full(expected.shape, np.nan))


def _intervals(values: Floats, least: Sequence[float]) -> list[dict[str, float]]:
    """Of numbers (N, 1 + R, seeds), the first of which are the estimates, between `least` and 1; NaN where a replicate is."""
    mean, low, high = resampled_interval(values.T)
    ends = np.maximum(low, least), np.minimum(high, 1.0)
    return [{"value": value, "low": first, "high": last} for value, first, last in zip(mean, *ends, strict=True)]


def markdown(table: pd.DataFrame) -> str:
    """For each classifier how far the metrics go together, and the matrix of their correlations."""
    lines = [NOTE, ""]
    heads = ["metrics", "number", "explainers", "W", "alpha", "left out"]
    for title, part in by_classifier(table):
        rows, together = [], part[part["kind"] != "spearman"]
        for family, own in together.groupby("first", sort=False):
            first, left = own.iloc[0], own["left_out"].iloc[0].split()
            cells = [_text(own[own["kind"] == kind].iloc[0]) for kind in ("W", "alpha")]
            number = f"{first['metrics']} of {first['metrics'] + len(left)}"
            rows.append([family, number, first["explainers"], *cells, ", ".join(left)])
        lines += [f"## {title}", "", *md.table(heads, rows, "lrrrrl"), ""]
        matrix = wide(part[part["kind"] == "spearman"])
        if len(matrix) > MOST_COLUMNS:
            lines += [f"The {len(matrix)} x {len(matrix)} correlations are in the csv file.", ""]
            continue
        numbers = [[name, *("" if np.isnan(value) else f"{value:.2f}" for value in row)] for name, *row in matrix.itertuples()]
        lines += [*md.table(["rho", *matrix.columns], numbers), ""]
    return "\n".join(lines)


def wide(part: pd.DataFrame) -> pd.DataFrame:
    """The matrix of the correlations of one classifier's metrics, symmetric, 1 on its diagonal."""
    names = list(dict.fromkeys([*part["first"], *part["second"]]))
    matrix = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for first, second, value in part[["first", "second", "value"]].itertuples(index=False, name=None):
        matrix.loc[first, second] = matrix.loc[second, first] = value
    return matrix


def _text(row: pd.Series) -> str:
    return f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
