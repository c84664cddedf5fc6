"""The numbers of the page's charts: curves, cost, agreement of metrics, ranks and comparisons of pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from xaibench.report.study import Study

POINTS = 250_000
"""Points of curves that a page holds; of more, every second, third, ... fraction is left out."""

PAIRS = 30_000
"""Rows of comparisons that a page holds; of more, those with the largest effects of each metric."""


def short(value: Any, digits: int = 3) -> float | int | None:
    """A number with so many significant digits, or None for one that is not defined."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded


def curves(study: Study) -> list[dict[str, Any]]:
    """A panel for each (classifier, metric, curve): x, and for each explainer [position, means, half-widths]."""
    table = study.curves
    if table.empty:
        return []
    places = {name: place for place, name in enumerate(study.explainers)}
    step = math.ceil(len(table) / POINTS)
    panels = []
    for key, part in table.groupby([*study.keys, "metric", "curve"], sort=True, observed=True):
        *title, metric, curve = map(str, key)
        if tuple(title) not in study.titles:
            continue
        means, lows, highs = (part.pivot(index="explainer", columns="fraction", values=name) for name in ("mean", "low", "high"))
        axis = means.columns.to_numpy()
        kept = np.union1d(axis[::step], axis[-1:])
        means, halves = means[kept], (highs - lows)[kept] / 2
        lines = [
            [places[name], [short(one, 4) for one in means.loc[name]], [short(one) for one in halves.loc[name]]]
            for name in places
            if name in means.index
        ]
        place = {"title": title, "metric": metric, "curve": curve}
        panels.append({**place, "x": [short(one, 4) for one in kept], "lines": lines, "left_out": len(axis) - len(kept)})
    return sorted(panels, key=lambda panel: study.titles.index(tuple(panel["title"])))


def costs(study: Study) -> list[list[Any]]:
    """For each classifier and explainer: [title, position, passes, seconds], both for one image, means over seeds and draws."""
    table, places = study.costs, {name: place for place, name in enumerate(study.explainers)}
    if table.empty:
        return []
    found = []
    for key, part in table.groupby([*study.keys, "explainer"], sort=True):
        *title, explainer = map(str, key)
        if explainer in places and tuple(title) in study.titles:
            passes, seconds = (float(part[names].sum(axis=1).mean()) for names in (["forward", "backward"], ["seconds"]))
            found.append([title, places[explainer], short(passes), short(seconds)])
    return found


def agreement(study: Study) -> list[dict[str, Any]]:
    """For each classifier the metrics, and Spearman's correlation (in percent) of their means over the explainers.

    That of ``metric_agreement.csv`` where it is there; else of the table's means, turned so that more is better, over explainers that both
    metrics scored, at least three; null where that cannot be.
    """
    given, metrics = study.csv("metric_agreement"), list(study.metrics)
    found = []
    for title in study.titles:
        if given.empty:
            matrix = _correlations(study, title)
        else:
            places = [given[key] == part for key, part in zip(study.keys, title, strict=True)]
            own = given[np.logical_and.reduce([*places, given["kind"] == "spearman"])]
            matrix = own.pivot_table(index="first", columns="second", values="value", sort=False)
            matrix = matrix.combine_first(matrix.T)
        names = [name for name in metrics if name in matrix.index]
        if len(names) > 1:
            values = matrix.reindex(index=pd.Index(names), columns=pd.Index(names)).to_numpy(dtype=float, copy=True)
            np.fill_diagonal(values, 1.0)
            rows = [[None if np.isnan(one) else round(100 * float(one)) for one in row] for row in values]
            found.append({"title": list(title), "metrics": [metrics.index(name) for name in names], "rows": rows})
    return found


def ranks(study: Study) -> list[dict[str, Any]]:
    """For each classifier and metric the explainers' [position, mean rank, letters]: those that share a letter do not differ."""
    table = study.csv("ranks")
    if table.empty:
        return []
    places = {name: place for place, name in enumerate(study.explainers)}
    found = []
    for (*title, metric), part in table.groupby([*study.keys, "metric"], sort=True):
        rows = part.sort_values("mean_rank", kind="stable").to_dict("records")
        known = [[places[row["explainer"]], short(row["mean_rank"], 4), row["groups"]] for row in rows if row["explainer"] in places]
        found.append({"title": title, "metric": str(metric), "images": int(part["images"].iloc[0]), "rows": known})
    return found


def comparisons(study: Study) -> list[dict[str, Any]]:
    """For each classifier and metric the pairs that differ: [first, second, difference, low, high, effect, p after Holm, images].

    The difference says how much better the first is, and the effect on what share of images.
    """
    table = study.comparison
    if table.empty:
        return []
    places = {name: place for place, name in enumerate(study.explainers)}
    groups = list(table.groupby([*study.keys, "metric"], sort=True))
    most = max(1, PAIRS // len(groups))
    found = []
    for (*title, metric), part in groups:
        differ = part[part["differs"]]
        shown = differ.iloc[(differ["effect"] - 0.5).abs().argsort(kind="stable")[::-1][:most]]
        numbers = ["difference", "low", "high", "effect", "p_holm", "images"]
        rows = [
            [places[row["first"]], places[row["second"]], *(short(row[name]) for name in numbers)]
            for row in shown.to_dict("records")
            if row["first"] in places and row["second"] in places
        ]
        sizes = {"pairs": len(part), "significant": len(differ), "images": [int(part["images"].min()), int(part["images"].max())]}
        found.append({"title": title, "metric": str(metric), **sizes, "rows": rows})
    return found


def _correlations(study: Study, title: tuple[str, ...]) -> pd.DataFrame:
    table = study.table
    own = table[np.logical_and.reduce([table[key] == part for key, part in zip(study.keys, title, strict=True)])]
    signs = [-1.0 if better is False else 1.0 for better in own["higher_is_better"]]
    means = own.assign(mean=own["mean"] * signs).pivot_table(index="explainer", columns="metric", values="mean", dropna=False)
    return means.corr(method="spearman", min_periods=3)
