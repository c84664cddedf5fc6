"""Whether metrics agree about explainers: rank correlations between them, and how far all of them go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from xaibench.paired import Scored
from xaibench.stats import Floats, ranks_of, resampled_interval

RESAMPLES = 200
MOST_COLUMNS = 12
"""Metrics whose matrix is printed."""
FEWEST = 3
"""Explainers, below which an order says nothing."""

NOTE = """Spearman's rank correlation between the orders that two metrics give the explainers (means over images and seeds, better first).
W: Kendall's coefficient of concordance of all metrics of the family, or of all, as judges of the explainers, 1 where all give one order;
alpha: Krippendorff's, for ordinal ranks, 0 where they agree as by chance, below 0 where they contradict each other. Interval: 95 %, of the
bootstrap over images and of the seeds. Left out: explainers that most metrics are undefined for, then metrics that are for another one."""


def metric_agreement(scored: Sequence[Scored]) -> pd.DataFrame:
    """Of the metrics on one classifier's configuration: one row for each pair, and for each family and all together two rows.

    Parameters
    ----------
    scored
        Each metric's scores, of the same explainers.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `trainer`; `kind`: "spearman", "W" or "alpha"; `first`, `second`: the metrics, or the family and nothing;
        `metrics`, `explainers`, their numbers; `value` with `low` and `high`.
    """
    shared = shared_explainers(scored)
    usable = [one for one in scored if len(shared_values(one, shared))]
    if len(usable) < 2 or len(shared) < FEWEST:
        return pd.DataFrame()
    ranks = np.stack([_ranks(one, shared) for one in usable])
    facts = {**usable[0].names, "explainers": len(shared)}
    rows: list[dict[str, Any]] = []
    for place, found in enumerate(_spearman(ranks)):
        pairs = [{"kind": "spearman", "first": usable[place].metric, "second": other.metric, "metrics": 2} for other in usable[place + 1 :]]
        rows += [pair | numbers for pair, numbers in zip(pairs, _intervals(found), strict=True)]
    for name, places in _families(usable).items():
        known = {"first": name, "second": "", "metrics": len(places)}
        judged = _intervals(np.stack([_concordance(ranks[places]), _alpha(ranks[places])]))
        rows += [{"kind": kind} | known | numbers for kind, numbers in zip(("W", "alpha"), judged, strict=True)]
    return pd.DataFrame([facts | row for row in rows])


def _families(scored: Sequence[Scored]) -> dict[str, list[int]]:
    """Places of the metrics of each family that has several, and of all."""
    names = sorted({one.metric_family for one in scored})
    found = {name: [place for place, one in enumerate(scored) if one.metric_family == name] for name in names}
    return {name: places for name, places in found.items() if len(places) > 1} | {"all": list(range(len(scored)))}


def shared_explainers(scored: Sequence[Scored]) -> list[str]:
    """The explainers that at least half of the metrics have a score for."""
    counts = pd.Series([name for one in scored for name, values in one.by_explainer.items() if np.isfinite(values).any()], dtype=object)
    return sorted(str(name) for name, count in counts.value_counts().items() if count >= len(scored) / 2)


def shared_values(scored: Scored, explainers: Sequence[str]) -> Floats:
    """(images, seeds, explainers), better is higher: of the images on which all explainers have a score, with all seeds."""
    if not set(explainers) <= set(scored.by_explainer):
        return np.empty((0, 0, 0))
    values = scored.sign * np.stack([scored.by_explainer[name] for name in explainers], axis=2)
    found: Floats = values[np.isfinite(values).all(axis=(1, 2))]
    return found


def _ranks(scored: Scored, explainers: Sequence[str]) -> Floats:
    """(1 + R, seeds, explainers): ranks of the means over images, 1 is best; first of all images, then of images drawn again."""
    values = shared_values(scored, explainers)
    draws = np.random.default_rng(0).multinomial(len(values), np.full(len(values), 1 / len(values)), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, len(values))), draws]) / len(values)
    return ranks_of(np.tensordot(weights, values, axes=1))


def _spearman(ranks: Floats) -> Iterator[Floats]:
    """Of each metric's ranks (metrics, 1 + R, seeds, explainers) with those of all after it: (others, 1 + R, seeds), NaN where all tie."""
    apart = ranks - ranks.mean(axis=3, keepdims=True)
    sizes = (apart**2).sum(axis=3)
    for place in range(len(ranks) - 1):
        scale = np.sqrt(sizes[place] * sizes[place + 1 :])
        yield np.divide((apart[place] * apart[place + 1 :]).sum(axis=3), scale, where=scale > 0, out=np.full(scale.shape, np.nan))


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


def _intervals(values: Floats) -> list[dict[str, float]]:
    """Of numbers (N, 1 + R, seeds), the first of which are the estimates; NaN where a replicate is."""
    mean, low, high = resampled_interval(values.T)
    ends = np.maximum(low, -1.0), np.minimum(high, 1.0)
    return [{"value": value, "low": least, "high": most} for value, least, most in zip(mean, *ends, strict=True)]


def markdown(table: pd.DataFrame) -> str:
    """For each classifier how far the metrics go together, and the matrix of their correlations."""
    lines = [NOTE, ""]
    for names, part in table.groupby(["dataset", "model"], sort=True):
        lines += [f"## {' / '.join(map(str, names))}", "", "| metrics | number | W | alpha |", "| --- | ---: | ---: | ---: |"]
        together = part[part["kind"] != "spearman"]
        for family, own in together.groupby("first", sort=False):
            cells = [_text(own[own["kind"] == kind].iloc[0]) for kind in ("W", "alpha")]
            lines.append(f"| {family} | {own['metrics'].iloc[0]} | {' | '.join(cells)} |")
        lines.append("")
        matrix = wide(part[part["kind"] == "spearman"])
        if len(matrix) > MOST_COLUMNS:
            lines += [f"The {len(matrix)} x {len(matrix)} correlations are in the csv file.", ""]
            continue
        lines += [f"| rho | {' | '.join(matrix.columns)} |", f"| --- |{' ---: |' * len(matrix)}"]
        lines += [
            f"| {name} | {' | '.join('' if np.isnan(value) else f'{value:.2f}' for value in row)} |"
            for name, row in zip(matrix.index, matrix.to_numpy(), strict=True)
        ]
        lines.append("")
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
