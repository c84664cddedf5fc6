"""Which explainer is better, by how much, and how sure: every pair of them, image by image, and all of them by rank.

The unit is an image, its score averaged over targets, draws and seeds within one (dataset, model, metric). So a p-value holds for other
images and these classifiers; the interval of a difference allows for other seeds as well.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from xaibench.paired import CLASSIFIER, Scored
from xaibench.problem import Family
from xaibench.stats import Floats, crossed_interval, images_needed, wilson_interval

LEVEL = 0.95
ALPHA = 1 - LEVEL

NOTE = """The explainer with the best mean rank over images; those that share a group with it in the critical-difference diagram
(Wilcoxon's signed rank test, Holm over all pairs of the table, 5 %); and the best explainer that is no control beside the best control:
how much better its mean is, with the 95 % interval (images crossed with seeds), the share of images on which it is better, and p (Holm)."""


def pairs(scored: Scored) -> pd.DataFrame:
    """One row for each pair of explainers, the one with the better mean first.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `trainer`, `metric`; `first`, `second`; `images` that both have a score for, with all seeds; `difference`, how
        much better the first is, in the metric's unit, with `low` and `high` (images crossed with seeds); `effect` with `effect_low` and
        `effect_high`: the share of images on which the first is better, ties counted half, with Wilson's interval (Wilson 1927); `p` of
        Wilcoxon's signed rank test (zeros ranked as by Pratt 1959), 1 where all differences are 0; `p_holm`, adjusted for all pairs of the
        table (Holm 1979); `images_needed` to find such a difference with a power of 80 %, see `stats.images_needed`. NaN where fewer than
        two images are shared.
    """
    names, good = list(scored.by_explainer), scored.good()
    unit = good.mean(axis=1)
    average = [one[np.isfinite(one)].mean() if np.isfinite(one).any() else -np.inf for one in unit.T]
    order = sorted(range(len(names)), key=lambda place: -average[place])
    chosen = list(itertools.combinations(order, 2))
    if not chosen:
        return pd.DataFrame()
    firsts, seconds = (np.array(side) for side in zip(*chosen, strict=True))
    found = crossed_interval(good[..., firsts] - good[..., seconds], LEVEL)
    columns: dict[str, Any] = {**scored.names, "metric": scored.metric, "metric_family": scored.metric_family}
    columns |= {"first": [names[place] for place in firsts], "second": [names[place] for place in seconds]}
    columns |= {"images": found.images, "difference": found.mean, "low": found.low, "high": found.high}
    tested = _tested((unit[:, firsts] - unit[:, seconds]).T)
    return pd.DataFrame(columns | tested | {"p_holm": holm(tested["p"])})


def _tested(differences: Floats) -> dict[str, Floats]:
    """Effects, p-values and images needed of the pairs' (pairs, images), of the images that have a difference."""
    found = {name: np.full(len(differences), np.nan) for name in ("effect", "effect_low", "effect_high", "p", "images_needed")}
    same: dict[bytes, list[int]] = {}
    for pair, there in enumerate(np.isfinite(differences)):
        same.setdefault(there.tobytes(), []).append(pair)
    for there, those in same.items():
        given = np.ascontiguousarray(differences[those][:, np.frombuffer(there, dtype=bool)])  # or the last bits of sums change
        if given.shape[1] < 2:
            continue
        effect = ((given > 0) + (given == 0) / 2).mean(axis=1)
        numbers = effect, *wilson_interval(effect, given.shape[1], LEVEL), _signed_ranks(given), images_needed(given, LEVEL)
        for column, values in zip(found.values(), numbers, strict=True):
            column[those] = values
    return found


def _signed_ranks(given: Floats) -> Floats:
    """P-values of Wilcoxon's test of each row; scipy tests rows without ties in another way where they are short, so they go apart."""
    p, sizes = np.ones(len(given)), np.sort(np.abs(given), axis=1)
    tied = (sizes[:, 0] == 0) | (np.diff(sizes, axis=1) == 0).any(axis=1)
    for rows in (~tied, tied & given.any(axis=1)):
        if rows.any():
            p[rows] = stats.wilcoxon(given[rows], zero_method="pratt", axis=1).pvalue
    return p


def holm(p: Floats) -> Floats:
    """Holm's adjusted p-values; those that are NaN stay NaN and count for nothing."""
    adjusted, there = np.full(len(p), np.nan), np.flatnonzero(np.isfinite(p))
    ascending = there[np.argsort(p[there], kind="stable")]
    left = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(p[ascending] * left), 1)
    return adjusted


def ranks(scored: Scored, compared: pd.DataFrame) -> pd.DataFrame:
    """One row for each explainer, by its mean rank over the images on which all have a score; 1 is best.

    Parameters
    ----------
    compared
        The table of `pairs`.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `trainer`, `metric`, `explainer`, `family`; `mean_rank`; `images`; `friedman`, the p-value of Friedman's test
        that all rank alike (NaN with fewer than three explainers); `groups`: explainers that share a letter lie in a row of which no two
        differ significantly (Wilcoxon, Holm), the bars of a critical-difference diagram (Demsar 2006; Benavoli et al. 2016).
        Explainers without any score are left out.
    """
    unit = scored.good().mean(axis=1)
    places = [place for place in range(unit.shape[1]) if np.isfinite(unit[:, place]).any()]
    names = [list(scored.by_explainer)[place] for place in places]
    whole = unit[:, places][np.isfinite(unit[:, places]).all(axis=1)]
    if not len(whole) or len(names) < 2:
        return pd.DataFrame()
    mean = stats.rankdata(-whole, axis=1).mean(axis=0)
    friedman = float(stats.friedmanchisquare(*whole.T).pvalue) if len(names) > 2 and np.ptp(whole, axis=1).any() else np.nan
    order = np.argsort(mean, kind="stable")
    differs = _matrix(compared, [names[place] for place in order])
    rows = zip([names[place] for place in order], mean[order], letters(differs), strict=True)
    found = [{"explainer": name, "family": scored.families[name], "mean_rank": rank, "groups": group} for name, rank, group in rows]
    return pd.DataFrame([{**scored.names, "metric": scored.metric} | row | {"images": len(whole), "friedman": friedman} for row in found])


def _matrix(compared: pd.DataFrame, names: Sequence[str]) -> NDArray[np.bool_]:
    """(E, E): whether two explainers differ significantly."""
    place = {name: number for number, name in enumerate(names)}
    differs = np.zeros((len(names), len(names)), dtype=bool)
    for first, second, p in compared[["first", "second", "p_holm"]].itertuples(index=False, name=None):
        if first in place and second in place:
            differs[place[first], place[second]] = differs[place[second], place[first]] = p < ALPHA
    return differs


def letters(differs: NDArray[np.bool_]) -> list[str]:
    """Of each of the ordered explainers, the letters of the longest runs that it lies in of which no two differ."""
    count = len(differs)
    ends = [next((end for end in range(start + 1, count) if differs[start : end + 1, end].any()), count) for start in range(count)]
    runs = [(start, end) for start, end in enumerate(ends) if start == 0 or end > ends[start - 1]]
    return ["".join(_letter(number) for number, (start, end) in enumerate(runs) if start <= place < end) for place in range(count)]


def _letter(number: int) -> str:
    """a, b, ... z, then A, B, ... Z, then letters with accents."""
    return string.ascii_letters[number] if number < len(string.ascii_letters) else chr(0x100 + number - len(string.ascii_letters))


def markdown(compared: pd.DataFrame, ranked: pd.DataFrame) -> str:
    """For each metric who leads, who cannot be told from the leader, and whether the best control can."""
    heads = ["metric", "first", "not told apart from it", "best beside best control"]
    lines = [NOTE, ""]
    for names, part in ranked.groupby(CLASSIFIER[:2], sort=True):
        lines += [f"## {' / '.join(map(str, names))}", "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        for metric, own in part.groupby("metric", sort=True):
            chosen = compared[(compared[CLASSIFIER[:2]] == list(names)).all(axis=1) & (compared["metric"] == metric)]
            (first, group), *others = own[["explainer", "groups"]].itertuples(index=False, name=None)
            near = [name for name, its in others if group[0] in its]
            lines.append(f"| {metric} | {first} | {', '.join(near) or 'none'} | {_beside(own, chosen)} |")
        lines.append("")
    return "\n".join(lines)


def _beside(ranked: pd.DataFrame, compared: pd.DataFrame) -> str:
    """The pair of the best explainer and the best control, in words."""
    control = ranked["family"] == Family.CONTROL.value
    if control.all() or not control.any():
        return ""
    own, best = ranked.loc[~control, "explainer"].iloc[0], ranked.loc[control, "explainer"].iloc[0]
    (row,) = compared[compared["first"].isin([own, best]) & compared["second"].isin([own, best])].to_dict("records")
    sign, effect = (1, row["effect"]) if row["first"] == own else (-1, 1 - row["effect"])
    low, high = sorted((sign * row["low"], sign * row["high"]))
    text = f"{own} - {best}: {sign * row['difference']:+.3g} ({low:+.3g} to {high:+.3g}), better on {effect:.0%}, p "
    return text + ("< .001" if row["p_holm"] < 0.001 else f"= {row['p_holm']:.3f}")
