"""Explainers beside the best control: by how many metrics, on how many classifiers, they are better than what ignores the classifier."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from xaibench import markdown as md
from xaibench.problem import Family
from xaibench.stats.intervals import without_rounding
from xaibench.stats.paired import CLASSIFIER
from xaibench.tables.blocks import natural
from xaibench.tables.layout import Record, best

STEM = "standings"
CONTROL, FIRST = Family.CONTROL.value, Family.FAITHFULNESS.value

Tests = dict[tuple[str, str], bool]
"""By pair that differs significantly (`comparison.pairs`): whether the first is better."""

NOTE = """On how many pairs of a metric and a classifier an explainer is significantly better than the best control and, in brackets, worse.
The best control is the one with the best mean of all that ignore the classifier. Better: image by image, the 95 % interval of the mean
difference (images crossed with seeds) lies above 0, and Wilcoxon's signed rank test with Holm's correction over all pairs of explainers
finds a difference (5 %) to the same side. Networks differ in how hard the controls are to beat, and not every explainer runs on all: the
first family of metrics is counted network by network, and the table is sorted by those on which most explainers run. Place: there, among
the explainers by their means, 0 for the first and 1 for the last, mean over metrics and data sets. Passes: forward and backward, to explain
one image."""


def tests(comparison: pd.DataFrame, controls: Iterable[str], keys: Sequence[str]) -> dict[tuple[str, ...], Tests]:
    """The pairs of an explainer and a control that differ significantly, in both orders, by what the keys name, and metric.

    Parameters
    ----------
    comparison
        As `comparison.pairs` gives it, or empty.
    controls
        Which explainers are controls.
    keys
        The columns that name a trained classifier.
    """
    found: dict[tuple[str, ...], Tests] = {}
    if comparison.empty:
        return found
    known = set(controls)
    chosen = comparison[comparison["first"].isin(known) != comparison["second"].isin(known)]
    columns = [*keys, "metric", "first", "second", "difference", "differs"]
    for *place, first, second, difference, differs in chosen[columns].itertuples(index=False, name=None):
        own = found.setdefault(tuple(map(str, place)), {})
        if differs:
            own[first, second], own[second, first] = difference > 0, difference < 0
    return found


def standings(table: pd.DataFrame, comparison: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Each explainer that is no control, beside the best control, by network and family of metrics.

    Parameters
    ----------
    table
        As `tables.aggregate` gives it: headline scores that have a direction are counted.
    comparison
        The study's pairs.
    costs
        Of explaining one image, see `studies.costs`.

    Returns
    -------
    DataFrame
        `explainer`, `family`; `passes` for each image, forward and backward, mean over the classifiers; `model`, `metric_family`;
        `compared`, (metric, classifier) pairs on which both it and a control have a score; `better` and `worse`, on how many of these it
        differs significantly (`comparison.pairs`); `place`, by its mean among all explainers that are no controls, 0 for the first to 1
        for the last, mean over all pairs with two or more. Empty where there is no control.
    """
    scored = table[(table["score"] == "value") & table["higher_is_better"].notna()]
    known = tests(comparison, scored.loc[scored["family"] == CONTROL, "explainer"].unique(), CLASSIFIER)
    rows: list[Record] = []
    for place, part in scored.groupby([*CLASSIFIER, "metric"], sort=True, observed=True):
        rows += _beside(part.to_dict("records"), known.get(tuple(map(str, place)), {}))
    if not any(row["compared"] for row in rows):
        return pd.DataFrame()
    counts = {"compared": "sum", "better": "sum", "worse": "sum", "place": "mean"}
    found = pd.DataFrame(rows).groupby(["explainer", "family", "model", "metric_family"], sort=False).agg(counts).reset_index()
    spent = costs.groupby("explainer")[["forward", "backward"]].mean().sum(axis=1).to_dict() if len(costs) else {}
    found.insert(2, "passes", found["explainer"].map(spent).astype(float))
    return found.sort_values(
        ["metric_family", "model", "explainer"], key=lambda names: names.map(natural), kind="stable", ignore_index=True
    )


def _beside(records: list[Any], tested: Tests) -> list[Record]:
    """Of one metric and classifier."""
    higher = bool(records[0]["higher_is_better"])
    rivals = [row for row in records if row["family"] != CONTROL and not math.isnan(row["mean"])]
    control = best([row for row in records if row["family"] == CONTROL], higher)
    means = without_rounding([row["mean"] for row in rivals], records[0]["metric_family"])
    ranks = stats.rankdata(-means if higher else means)
    found = []
    for row, rank in zip(rivals, ranks, strict=True):
        verdict = tested.get((row["explainer"], control["explainer"])) if control else None
        names = {name: row[name] for name in ("explainer", "family", "model", "metric_family")}
        numbers = {"compared": int(control is not None), "better": int(verdict is True), "worse": int(verdict is False)}
        found.append(names | numbers | {"place": (rank - 1) / (len(rivals) - 1) if len(rivals) > 1 else np.nan})
    return found


def hardest(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first family of metrics, of the networks on which most explainers run."""
    chosen = found[found["metric_family"] == families(found)[0]]
    counts = chosen.groupby("model")["explainer"].nunique()
    return chosen[chosen["model"].isin(counts.index[counts == counts.max()])]


def ordered(found: pd.DataFrame) -> list[str]:
    """Explainers by how often they are better than the best control, see `hardest`."""
    sums = hardest(found).groupby("explainer")[["compared", "better", "worse"]].sum()
    share = (sums["better"] / sums["compared"].clip(lower=1)).to_dict()
    loss = (sums["worse"] / sums["compared"].clip(lower=1)).to_dict()
    return sorted(found["explainer"].unique(), key=lambda name: (-share.get(name, -1.0), loss.get(name, 2.0), natural(name)))


def families(found: pd.DataFrame) -> list[str]:
    """The families of metrics, faithfulness first."""
    return sorted(found["metric_family"].unique(), key=lambda name: (name != FIRST, name))


def sheet(found: pd.DataFrame) -> tuple[list[str], list[list[tuple[str, float]]]]:
    """Heads and rows of the table, in its order: each cell's text, and the number to sort it by (NaN where it has none)."""
    first, *others = families(found)
    own, models = found[found["metric_family"] == first], sorted(found["model"].unique(), key=natural)
    counted = {f"{first}, {model}" if len(models) > 1 else first: own[own["model"] == model] for model in models}
    counted |= {family: found[found["metric_family"] == family] for family in others}
    sums = [part.groupby("explainer")[["compared", "better", "worse"]].sum().to_dict("index") for part in counted.values()]
    places = hardest(found).groupby("explainer")["place"].mean().to_dict()
    facts = found.drop_duplicates("explainer").set_index("explainer").to_dict("index")
    rows = []
    for name in ordered(found):
        numbers = [(facts[name]["passes"], "{:,.0f}"), (places.get(name, math.nan), "{:.2f}")]
        known = [(name, math.nan), (facts[name]["family"], math.nan)]
        known += [("" if math.isnan(value) else shape.format(value), value) for value, shape in numbers]
        rows.append(known + [_counted(one.get(name)) for one in sums])
    return ["explainer", "family", "passes", "place", *counted], rows


def _counted(one: Any) -> tuple[str, float]:
    if one is None or not one["compared"]:
        return "", math.nan
    return f"{one['better']} ({one['worse']}) of {one['compared']}", one["better"] / one["compared"]


def markdown(found: pd.DataFrame) -> str:
    """The table of `standings`, a row for each explainer."""
    heads, rows = sheet(found)
    return "\n".join([NOTE, "", *md.table(heads, ([text for text, _ in row] for row in rows), "llr"), ""])
