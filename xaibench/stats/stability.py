"""How stable an order of explainers is: ranks with intervals, and how many move with other images or another seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xaibench import markdown as md
from xaibench.stats.intervals import Floats, ranks_of
from xaibench.stats.paired import Scored, by_classifier, complete

LEVEL = 0.95
RESAMPLES, SPLITS = 500, 200
FEWEST = 2
"""Explainers that have an order."""

NOTE = """How much the order of the explainers (by mean score, 1 is best) depends on the images and the seed. Half of the images: two orders
from disjoint random halves, mean over 200 splits. Other seed: the order by each seed alone against that by all others. Moved: the share
of explainers whose rank differs; by: how far ranks lie apart in the mean; tau: Kendall's; first: how often both have the same first one."""


def ranked(scored: Sequence[Scored]) -> pd.DataFrame:
    """Ranks of explainers with intervals, for each metric and each family of metrics, on one classifier's configuration.

    Parameters
    ----------
    scored
        Each metric's scores.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `trainer`; `metric`, or a family's name in `metric_family` alone; `explainer`, `family`; `rank` by the mean over
        images and seeds, for a family the mean of the ranks by its metrics; `rank_low` and `rank_high`, the 95 % interval by the bootstrap
        that weighs images anew and draws seeds anew, each for all explainers and metrics (Owen 2007; Owen and Eckles 2012); of two
        or three seeds that differ much it is too narrow (in simulation it holds the rank in .73 and .86 for .95); `seeds`; `images`, for a
        family the fewest of a metric's; `metrics` that the rank is of. A metric ranks its usable explainers, a family those that all of
        its metrics rank, see `paired.complete`.
    """
    rows: list[dict[str, Any]] = []
    for one in scored:
        rows += _ranked([one], one.usable(), {"metric": one.metric, "metric_family": one.metric_family})
    for family in sorted({one.metric_family for one in scored}):
        members = [one for one in scored if one.metric_family == family and _values(one, one.usable()).size]
        rows += _ranked(*complete(members), {"metric": "", "metric_family": family})
    return pd.DataFrame(rows)


def _values(scored: Scored, explainers: Sequence[str]) -> Floats:
    """(images, seeds, explainers), or nothing where there is no order."""
    return scored.shared(explainers) if len(explainers) >= FEWEST else np.empty((0, 0, 0))


def _ranked(scored: Sequence[Scored], explainers: Sequence[str], known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The explainers by the mean of their ranks by these metrics."""
    counts = [len(_values(one, explainers)) for one in scored]
    if not counts or not all(counts):
        return
    means = [one.resampled(explainers, RESAMPLES) for one in scored]
    ranks = np.mean([_replicates(one) for one in means], axis=0)
    more = {"seeds": means[0].shape[1], "images": min(counts), "metrics": len(scored)}
    yield from (row | more for row in _rows(scored[0], explainers, ranks, known))


def _replicates(means: Floats) -> Floats:
    """(1 + R, explainers): ranks by means (1 + R, seeds, explainers), the first over all seeds, the others with seeds drawn again."""
    count, seeds, _ = means.shape
    draws = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), size=count - 1)
    weights = np.concatenate([np.ones((1, seeds)), draws]) / seeds
    return ranks_of(np.einsum("rj,rje->re", weights, means))


def _rows(scored: Scored, explainers: Sequence[str], ranks: Floats, known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    low, high = np.quantile(ranks[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    for place in np.argsort(ranks[0], kind="stable"):
        name = explainers[place]
        ends = {"rank": ranks[0, place], "rank_low": min(low[place], ranks[0, place]), "rank_high": max(high[place], ranks[0, place])}
        yield scored.names | known | {"explainer": name, "family": scored.families[name]} | ends


def stability(scored: Sequence[Scored]) -> pd.DataFrame:
    """How far the orders from two halves of the images, or from one seed and the others, lie apart.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `trainer`, `metric`; `against`: "half of the images", or "other seed" where there are several; `explainers` that
        are usable, `images` that all of these have a score for, their numbers; `moved`: the share whose rank differs; `by`: mean distance
        of the ranks; `tau`: Kendall's tau-b; `same_first`: share with the same first, or one that is first in both where several are.
    """
    rows = []
    for one in scored:
        values = _values(one, one.usable())
        if len(values) < 2:
            continue
        compared = {"half of the images": _halves(values), "other seed": _seeds(values)}
        for against, pairs in compared.items():
            if len(pairs):
                numbers = _apart(pairs[:, 0], pairs[:, 1]).mean(axis=0)
                known = one.names | {"metric": one.metric, "against": against, "explainers": values.shape[2], "images": len(values)}
                rows.append(known | dict(zip(("moved", "by", "tau", "same_first"), numbers, strict=True)))
    return pd.DataFrame(rows)


def _halves(values: Floats) -> Floats:
    """(splits, 2, explainers): mean scores by each of two halves."""
    draw, half = np.random.default_rng(0), len(values) // 2
    orders = [draw.permutation(len(values)) for _ in range(SPLITS)]
    return np.array([[values[order[start : start + half]].mean(axis=(0, 1)) for start in (0, half)] for order in orders])


def _seeds(values: Floats) -> Floats:
    """(seeds, 2, explainers): mean scores by each seed and by all others; none where there is one seed."""
    seeds = values.shape[1]
    pairs = [(values[:, seed].mean(axis=0), np.delete(values, seed, axis=1).mean(axis=(0, 1))) for seed in range(seeds) if seeds > 1]
    return np.array(pairs)


def _apart(first: Floats, second: Floats) -> Floats:
    """(N, 4) of scores (N, explainers): share of ranks that differ, their mean distance, Kendall's tau-b, whether the first is the same."""
    one, other = ranks_of(first), ranks_of(second)
    pairs = np.triu_indices(one.shape[1], k=1)
    signs, others = (np.sign(ranks[:, pairs[0]] - ranks[:, pairs[1]]) for ranks in (one, other))
    untied, others_untied = np.abs(signs).sum(axis=1), np.abs(others).sum(axis=1)
    with np.errstate(invalid="ignore"):  # all tied
        tau = np.clip((signs * others).sum(axis=1) / np.sqrt(untied) / np.sqrt(others_untied), -1, 1)
    firsts, other_firsts = (ranks == ranks.min(axis=1, keepdims=True) for ranks in (one, other))
    first_same = (firsts & other_firsts).any(axis=1)
    return np.stack([(one != other).mean(axis=1), np.abs(one - other).mean(axis=1), tau, first_same], axis=1)


def markdown(table: pd.DataFrame) -> str:
    """The table of `stability`, a part for each classifier."""
    lines = [NOTE, ""]
    heads = ["metric", "against", "explainers", "images", "moved", "by", "tau", "first"]
    for title, part in by_classifier(table):
        rows = []
        for one in part.to_dict("records"):
            numbers = [f"{one['moved']:.0%}", f"{one['by']:.1f}", f"{one['tau']:.2f}", f"{one['same_first']:.0%}"]
            rows.append([one["metric"], one["against"], one["explainers"], one["images"], *numbers])
        lines += [f"## {title}", "", *md.table(heads, rows, "llr"), ""]
    return "\n".join(lines)
