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

from xaibench import markdown as md
from xaibench.problem import Family
from xaibench.stats.intervals import Floats, crossed_interval, images_needed, note_of, wilson_interval
from xaibench.stats.paired import CLASSIFIER, Scored, by_classifier
from xaibench.tables.layout import SENTENCES

LEVEL = 0.95
ALPHA = 1 - LEVEL

NOTE = """The explainer with the best mean rank over the images that all have a score for (who is undefined on most is left out);
those that do not differ significantly from it; and the explainer with the best mean that is no control beside the control with the best
mean: how much better it is, with the 95 % interval (images crossed with seeds), on what share of images, and p (Holm). Two explainers
differ significantly where the interval of the mean difference is clear of 0, Wilcoxon's signed rank test finds a difference (5 %, Holm
over all pairs of the table), and both point the same way."""


def pairs(scored: Scored) -> pd.DataFrame:
    """One row for each pair of explainers, the one with the better mean first.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `trainer`, `metric`; `first`, `second`; `images` that both have a score for, with all `seeds`; `difference`, how
        much better the first is, in the metric's unit, with `low` and `high` (images crossed with seeds); `effect` with `effect_low` and
        `effect_high`: the share of images on which the first is better, ties counted half, with Wilson's interval (Wilson 1927); `p` of
        Wilcoxon's signed rank test (zeros ranked as by Pratt 1959), 1 where all differences are 0; `p_holm`, adjusted for all pairs of the
        table (Holm 1979); `differs`, whether the two differ significantly: 0 is outside the interval, `p_holm` is below 5 %, and signed
        ranks and mean point the same way; `images_needed` to find such a difference at 5 % among all pairs of the table (Bonferroni) with
        a power of 80 % and these classifiers, see `stats.images_needed`. NaN where fewer than two images are shared.
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
    columns |= {"images": found.images, "seeds": found.seeds, "difference": found.mean, "low": found.low, "high": found.high}
    tested = _tested((unit[:, firsts] - unit[:, seconds]).T)
    adjusted, way = holm(tested["p"]), tested.pop("way")
    differs = (np.sign(found.low) == np.sign(found.high)) & (adjusted < ALPHA) & (way == np.sign(found.mean)) & (way != 0)
    return pd.DataFrame(columns | tested | {"p_holm": adjusted, "differs": differs})


def _tested(differences: Floats) -> dict[str, Floats]:
    """Effects, p-values, signs of the signed ranks' sums, and images needed, of the differences (pairs, images), where they are finite."""
    found = {name: np.full(len(differences), np.nan) for name in ("effect", "effect_low", "effect_high", "p", "way", "images_needed")}
    level = 1 - ALPHA / len(differences)
    same: dict[bytes, list[int]] = {}
    for pair, there in enumerate(np.isfinite(differences)):
        same.setdefault(there.tobytes(), []).append(pair)
    for there, those in same.items():
        given = np.ascontiguousarray(differences[those][:, np.frombuffer(there, dtype=bool)])  # or the last bits of sums change
        if given.shape[1] < 2:
            continue
        effect = ((given > 0) + (given == 0) / 2).mean(axis=1)
        way = np.sign((np.sign(given) * stats.rankdata(np.abs(given), axis=1)).sum(axis=1))
        ahead = given * np.where(given.mean(axis=1, keepdims=True) < 0, -1.0, 1.0)  # whoever is, on the images that both have
        numbers = effect, *wilson_interval(effect, given.shape[1], LEVEL), _signed_ranks(given), way, images_needed(ahead, level)
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
    """Holm's adjusted p-values; those that are NaN stay NaN and count for nothing.

    As statsmodels' multipletests, which collects garbage in every call: with hundreds of tables that takes longer than all tests.
    """
    adjusted, there = np.full(len(p), np.nan), np.flatnonzero(np.isfinite(p))
    ascending = there[np.argsort(p[there], kind="stable")]
    left = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(p[ascending] * left), 1)
    return adjusted


def ranks(scored: Scored, compared: pd.DataFrame) -> pd.DataFrame:
    """One row for each explainer, by its mean rank over the images on which all of them have a score; 1 is best.

    Parameters
    ----------
    compared
        The table of `pairs`.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `trainer`, `metric`, `explainer`, `family`; `mean_rank`; `images`; `friedman`, the p-value of Friedman's test
        that all rank alike (NaN with fewer than three explainers); `groups`: explainers that share a letter lie in a row of which no two
        differ significantly, the bars of a critical-difference diagram (Demsar 2006; Benavoli et al. 2016).
        Explainers that are undefined on more than half of their images are left out, see `Scored.usable`.
    """
    names = scored.usable()
    whole = scored.shared(names).mean(axis=1) if len(names) > 1 else np.empty((0, 0))
    if len(whole) < 2:
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
    for first, second, found in compared[["first", "second", "differs"]].itertuples(index=False, name=None):
        if first in place and second in place:
            differs[place[first], place[second]] = differs[place[second], place[first]] = found
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
    heads = ["metric", "images", "first", "not told apart from it", "best beside best control"]
    lines = [NOTE, ""]
    for title, part in by_classifier(ranked):
        rows, mine = [], compared[(compared[CLASSIFIER] == part[CLASSIFIER].iloc[0]).all(axis=1)]
        for metric, own in part.groupby("metric", sort=True):
            chosen, (first, *others) = mine[mine["metric"] == metric], own["explainer"]
            apart = chosen[chosen["differs"] & ((chosen["first"] == first) | (chosen["second"] == first))]
            near = [name for name in others if name not in {*apart["first"], *apart["second"]}]
            rows.append([metric, own["images"].iloc[0], first, ", ".join(near) or "none", _beside(own, chosen)])
        told = SENTENCES.get(note_of(int(mine["seeds"].iloc[0])), "")
        lines += [f"## {title}", "", *([f"{told.capitalize()}.", ""] if told else []), *md.table(heads, rows, "lrl"), ""]
    return "\n".join(lines)


def _beside(ranked: pd.DataFrame, compared: pd.DataFrame) -> str:
    """The pair of the best explainer and the best control, in words."""
    control = ranked["family"] == Family.CONTROL.value
    if control.all() or not control.any():
        return ""
    own, best = (_first(set(ranked.loc[which, "explainer"]), compared) for which in (~control, control))
    (row,) = compared[compared["first"].isin([own, best]) & compared["second"].isin([own, best])].to_dict("records")
    sign, effect = (1, row["effect"]) if row["first"] == own else (-1, 1 - row["effect"])
    low, high = sorted((sign * row["low"], sign * row["high"]))
    text = f"{own} - {best}: {sign * row['difference']:+.3g} ({low:+.3g} to {high:+.3g}), better on {effect:.0%}, p "
    return text + ("< .001" if row["p_holm"] < 0.001 else f"= {row['p_holm']:.3f}")


def _first(names: set[str], compared: pd.DataFrame) -> str:
    """Whose mean is best among these: who is never the second of two of them."""
    (found,) = names - set(compared.loc[compared["first"].isin(names), "second"])
    return found
