"""Curves of scores, such as deletion and insertion, as small multiples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xaibench.figures import style
from xaibench.tables.blocks import natural

VERSION = 1

PANEL = ["dataset", "model", "metric", "curve"]
COLUMNS = 3
WIDTH, LETTERS = 2.7, 36
"""Inches of a panel, and the letters of a title that fit above it."""
MOST_PANELS = 12
MOST_LINES = 14
"""Explainers that are told apart; of more, the lines have the colors of the families."""
ROOM = 0.3
"""How far bands are shown beyond the mean curves, as a share of these curves' range."""

AXES = {
    "deletion": "fraction of pixels removed",
    "insertion": "fraction of pixels inserted",
    "saturation": "fraction of pixels saturated",
}
"""What the horizontal axis says where the metric's name holds the key."""


def files(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """What goes into a figure of its own, by name: a metric's panels, or, where these are more than `MOST_PANELS`, those of a curve."""
    for metric, part in table.groupby("metric", sort=True, observed=True) if len(table) else ():
        if part.groupby(PANEL, observed=True).ngroups <= MOST_PANELS:
            yield str(metric), part
        else:
            yield from ((f"{metric}-{curve}", own) for curve, own in part.groupby("curve", sort=True, observed=True))


def curves(table: pd.DataFrame, path: Path, names: Mapping[str, tuple[str, str]] | None = None) -> Figure:
    """Mean curve of every explainer with its interval, one panel for each (dataset, model, metric, curve).

    An explainer has the same color and dash in all panels; controls are grey and dashed. More than `MOST_LINES` explainers have thin lines
    in the colors of their families, without bands. Panels of one metric and curve share their vertical range.

    Parameters
    ----------
    table
        Columns dataset, model, explainer, family, metric, curve, fraction, mean, low, high; NaN bounds leave out the band.
    path
        File to write: png, svg or pdf.
    names
        Axis names (horizontal, vertical) by metric, where the derived ones do not fit.

    Returns
    -------
    Figure
        The figure as written.
    """
    explainers = dict(table[["explainer", "family"]].drop_duplicates().itertuples(index=False, name=None))
    many = len(explainers) > MOST_LINES
    styles = style.families(explainers) if many else style.lines(explainers.items())
    groups = {tuple(map(str, key)): group for key, group in table.groupby(PANEL, observed=True, sort=False)}
    order = sorted(groups, key=lambda key: [natural(part) for part in key])
    kinds = len({key[2:] for key in order})
    columns = kinds if 1 < kinds <= COLUMNS else min(len(order), COLUMNS)
    with style.settings():
        rows = math.ceil(len(order) / columns)
        entries = sorted(set(explainers.values())) if many else list(styles)
        figure = style.new(WIDTH * columns + 0.065 * max(map(len, entries)) + 0.7, max(2.3 * rows + 0.2, 0.17 * len(entries) + 0.4))
        for position, key in enumerate(order):
            axes = figure.add_subplot(rows, columns, position + 1)
            _panel(axes, groups[key], styles, table)
            horizontal, vertical = (names or {}).get(key[2], _names(key[2], key[3]))
            axes.set(title=_title(*key[:3]), xlabel=horizontal, ylabel=vertical)
        handles, labels = _legend(figure, {label: explainers[label] if many else label for label in styles})
        title = "family" if many else "explainer"
        figure.legend(handles, labels, loc="outside right upper", frameon=False, title=title, alignment="left", handlelength=3.2)
        style.save(figure, path)
    return figure


def _panel(axes: Axes, group: pd.DataFrame, styles: Mapping[str, dict], table: pd.DataFrame) -> None:
    for label, look in styles.items():
        rows = group[group["explainer"] == label].sort_values("fraction")
        if len(rows):
            axes.plot(rows["fraction"], rows["mean"], label=label, **look)
            if len(styles) <= MOST_LINES:
                axes.fill_between(rows["fraction"], rows["low"], rows["high"], color=look["color"], alpha=0.13, linewidth=0, zorder=1)
    same = table[(table["metric"] == group["metric"].iloc[0]) & (table["curve"] == group["curve"].iloc[0])]
    least, most = float(same["mean"].min()), float(same["mean"].max())
    margin = ROOM * (most - least) or 0.5  # the bands of two seeds are so wide that they would flatten all curves
    low, high = max(least - margin, float(same["low"].min()) - 0.1 * margin), min(most + margin, float(same["high"].max()) + 0.1 * margin)
    axes.set(xlim=(group["fraction"].min(), group["fraction"].max()), ylim=(low, high) if low < high else (least - margin, most + margin))
    axes.grid(color="#E5E5E5", linewidth=0.5)
    axes.set_axisbelow(True)


def _title(dataset: str, model: str, metric: str) -> str:
    classifier = f"{dataset} / {model}" if len(dataset) + len(model) <= LETTERS - 3 else f"{dataset}\n{style.wrap(model, LETTERS)}"
    return f"{classifier}\n{metric if len(metric) <= LETTERS else style.wrap(metric, LETTERS)}"


def _names(metric: str, curve: str) -> tuple[str, str]:
    horizontal = next((text for key, text in AXES.items() if key in metric), "fraction")
    return horizontal, curve.replace("_", " ")


def _legend(figure: Figure, names: Mapping[str, str]) -> tuple[list, list[str]]:
    """One entry for each name: of the first line that has it, in the order of the labels that the names are given for."""
    lines: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            lines.setdefault(label, handle)
    found: dict[str, Any] = {}
    for label, name in names.items():
        if label in lines:
            found.setdefault(name, lines[label])
    return list(found.values()), list(found)
