"""A study's statistics as files: pairs of explainers, ranks, agreement of metrics, and the split of variance."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from xaibench.figures.critical_difference import critical_difference
from xaibench.pictures import file_name
from xaibench.stats import metric_agreement, stability, variance
from xaibench.stats.comparison import markdown, pairs, ranks
from xaibench.stats.paired import CLASSIFIER, Scored, scored_parts
from xaibench.tables.aggregate import Part, save

FORMAT = "%.4g"
PAIRS = "comparison.parquet"


def write(scores: pd.DataFrame, parts: Iterable[Part], folder: Path) -> None:
    """Write what there is to say of the long table's scores, and of what `tables.by_image` made of them.

    `PAIRS` (every pair, see `comparison.pairs`), ``comparison.md``, ``ranks.csv``, a critical-difference diagram for each
    metric, ``stability_ranks.csv``, ``stability.csv`` and ``.md``, where there are several explainers; ``metric_agreement.csv`` and
    ``.md``, where there are several metrics; ``variance.csv`` and ``.md``, where there are several seeds.
    """
    scored = list(scored_parts(part for part in parts if part.facts["score"] == "value"))
    compared = [pairs(one) for one in scored]
    ranked = [ranks(one, table) for one, table in zip(scored, compared, strict=True) if len(table)]
    every = pd.concat(compared, ignore_index=True) if compared else pd.DataFrame()
    if len(every):
        every.to_parquet(folder / PAIRS, index=False)
    if any(len(one) for one in ranked):
        found = pd.concat(ranked, ignore_index=True)
        found.to_csv(folder / "ranks.csv", index=False, float_format=FORMAT)
        (folder / "comparison.md").write_text(markdown(every, found), encoding="utf-8")
        for metric, part in found.groupby("metric", sort=True):
            critical_difference(part, folder / f"critical_difference-{file_name(str(metric))}.png")
    _stability(list(_classifiers(scored)), folder)
    agreeing = [table for one in _classifiers(scored) if len(table := metric_agreement.metric_agreement(one))]
    if agreeing:
        together = pd.concat(agreeing, ignore_index=True)
        save(together, metric_agreement.markdown(together), folder / "metric_agreement")
    if scores["seed"].nunique() > 1:
        split = variance.variance(scores)
        save(split, variance.markdown(split), folder / "variance")


def read(folder: Path) -> pd.DataFrame:
    """The compared pairs that a study's folder holds, see `comparison.pairs`; empty where it holds none."""
    return pd.read_parquet(folder / PAIRS) if (folder / PAIRS).is_file() else pd.DataFrame()


def _stability(classifiers: list[list[Scored]], folder: Path) -> None:
    """Ranks with intervals, and how many of them move."""
    ranked = [table for one in classifiers if len(table := stability.ranked(one))]
    apart = [table for one in classifiers if len(table := stability.stability(one))]
    if ranked and apart:
        pd.concat(ranked, ignore_index=True).to_csv(folder / "stability_ranks.csv", index=False, float_format=FORMAT)
        found = pd.concat(apart, ignore_index=True)
        save(found, stability.markdown(found), folder / "stability")


def _classifiers(scored: list[Scored]) -> Iterator[list[Scored]]:
    """The metrics of one classifier's configuration together."""

    def key(one: Scored) -> list[str]:
        return [one.names[name] for name in CLASSIFIER]

    yield from (list(group) for _, group in itertools.groupby(sorted(scored, key=key), key=key))
