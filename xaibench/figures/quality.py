"""What metrics make of degraded explanations: a dot for each metric and way of degrading."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from xaibench.figures import style

VERSION = 1

KINDS = {"noise": "o", "blur": "s", "shift": "^"}
ROW = 0.155
"""Inches of a metric's row."""


def quality(table: pd.DataFrame, path: Path) -> Figure:
    """Rank recovery of each metric with its interval, a panel for each dataset and model, metrics by family.

    Parameters
    ----------
    table
        Columns dataset, model, metric, metric_family, and `<kind>`, `<kind>_low`, `<kind>_high` for each of `KINDS`.
    path
        File to write: png, svg or pdf.

    Returns
    -------
    Figure
        The figure as written.
    """
    panels = list(table.groupby(["dataset", "model"], sort=True))
    order = table.groupby(["metric_family", "metric"], sort=True, observed=True)["noise"].mean().reset_index()
    order = order.sort_values(["metric_family", "noise"], ascending=[True, True], ignore_index=True)
    with style.settings():
        figure = style.new(2.6 + 2.6 * len(panels), 1.0 + ROW * max(len(order), 5))
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for one, ((dataset, model), part) in zip(axes, panels, strict=True):
            own = part.set_index("metric").reindex(order["metric"])
            one.axvline(0, color="#999999", linewidth=0.8, zorder=1)
            for offset, (kind, marker), color in zip((0.22, 0.0, -0.22), KINDS.items(), style.COLORS, strict=False):
                heights = order.index.to_numpy() + offset
                one.hlines(heights, own[f"{kind}_low"], own[f"{kind}_high"], color=color, linewidth=0.9, alpha=0.6, zorder=2)
                one.scatter(own[kind], heights, s=9, color=color, marker=marker, label=kind, zorder=3, linewidths=0)
            for line in range(1, len(order)):
                if order["metric_family"][line] != order["metric_family"][line - 1]:
                    one.axhline(line - 0.5, color="#BBBBBB", linewidth=0.6)
            one.set(title=f"{dataset}\n{model}", xlim=(-1.05, 1.05), ylim=(-0.6, len(order) - 0.4), xlabel="rank recovery (Kendall's tau)")
            one.grid(axis="x", color="#EEEEEE", linewidth=0.5)
            one.set_axisbelow(True)
        axes[0].set_yticks(range(len(order)), order["metric"])
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(KINDS), frameon=False, title="degraded by", alignment="left")
        style.save(figure, path)
    return figure
