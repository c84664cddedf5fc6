"""Scores of many explainers, one below the other, against the best control."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xaibench.figures import style
from xaibench.tables.blocks import natural

VERSION = 1

ROW = 0.15
"""Inches of an explainer's row."""
CONTROL = "control"


def ranking(table: pd.DataFrame, path: Path) -> Figure:
    """A panel for each (dataset, model): mean and interval of every explainer, a line at the best control, controls in grey.

    Explainers stand in the order of their mean over all panels, the best above.

    Parameters
    ----------
    table
        Columns dataset, model, explainer, family, metric, higher_is_better, mean, low, high, of one metric.
    path
        File to write: png, svg or pdf.
    """
    direction = table["higher_is_better"].iloc[0]
    higher = pd.isna(direction) or bool(direction)
    means = table.groupby("explainer")["mean"].mean()
    order = sorted(means.index, key=lambda name: (np.isnan(means[name]), -means[name] if higher else means[name], natural(name)))[::-1]
    panels = list(table.groupby(["dataset", "model"], sort=True))
    families = dict(table[["explainer", "family"]].itertuples(index=False, name=None))
    colors = {name: look["color"] for name, look in style.families(families).items()}
    with style.settings():
        figure = style.new(1.6 + 2.3 * len(panels), 0.9 + ROW * max(len(order), 4))
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for one, ((dataset, model), part) in zip(axes, panels, strict=True):
            _panel(one, part.set_index("explainer").reindex(order), colors, higher)
            one.set_title(f"{dataset}\n{style.wrap(str(model), 34)}")
        style.row_names(axes[0], order, {name for name in order if families[name] == CONTROL})
        handles = {family: axes[0].plot([], [], "o", markersize=3, color=colors[name])[0] for name, family in sorted(families.items())}
        arrow = {True: " (higher is better)", False: " (lower is better)"}.get(direction, "")
        figure.supxlabel(f"{table['metric'].iloc[0]}{arrow}; line: best control", fontsize=8)
        figure.legend(list(handles.values()), list(handles), loc="outside right upper", frameon=False, title="family", alignment="left")
        style.save(figure, path, flat=True)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, colors: dict[str, str], higher: bool) -> None:
    heights = np.arange(len(rows))
    own = [colors[name] for name in rows.index]
    controls = rows.loc[rows["family"] == CONTROL, "mean"].dropna()
    if len(controls):
        axes.axvline(controls.max() if higher else controls.min(), color="#999999", linewidth=0.8, zorder=1)
    axes.hlines(heights, rows["low"], rows["high"], colors=own, linewidth=1.2, alpha=0.7, zorder=2)
    axes.scatter(rows["mean"], heights, s=10, c=own, zorder=3, linewidths=0)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.5)
    axes.set_axisbelow(True)
    ends = np.tile([0, 1, np.nan], len(rows)), np.repeat(heights, 3)
    axes.add_artist(Line2D(*ends, transform=axes.get_yaxis_transform("grid"), color="#EEEEEE", linewidth=0.5, zorder=0.5))
