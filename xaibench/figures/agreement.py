"""Agreement of explainers with the influence of pixels, class by class."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from xaibench.figures import style

VERSION = 1

MEAN = "mean"
"""Stands for the mean over the classes."""
ROW, COLUMN = 0.15, 0.24
"""Inches of an explainer's row and of a class's column."""


def agreement(table: pd.DataFrame, path: Path) -> Figure:
    """A panel for each (dataset, model, influence): explainers, those with the largest mean above, by classes; controls in italics.

    Parameters
    ----------
    table
        Columns dataset, model, influence, explainer, family, class (one of them "mean") and correlation; NaN is gray.
    path
        File to write: png, svg or pdf.
    """
    panels = list(table.groupby(["dataset", "model", "influence"], sort=True))
    most, classes = table["explainer"].nunique(), int(table.groupby(["dataset"])["class"].nunique().max())
    with style.settings():
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        figure = style.new(columns * (1.8 + COLUMN * classes), rows * (1.1 + ROW * most) + 0.5)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for one, ((dataset, model, influence), part) in zip(axes, panels, strict=False):
            _panel(one, part)
            one.set_title(f"{dataset} / {model}\n{influence}")
        for one in axes[len(panels) :]:
            one.axis("off")
        text = "rank correlation of mean attribution and influence; gray: undefined"
        bar = figure.colorbar(style.mappable(1.0, _colors()), ax=list(axes), location="bottom", shrink=0.5, aspect=40, pad=0.01)
        bar.set_label(text)
        style.save(figure, path)
    return figure


def _panel(axes: Axes, part: pd.DataFrame) -> None:
    names = list(dict.fromkeys(part["class"]))
    wide = part.pivot(index="explainer", columns="class", values="correlation")[names]
    wide = wide.sort_values(MEAN, ascending=False, na_position="last", kind="stable")
    axes.imshow(wide.to_numpy(), cmap=_colors(), vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axes.axvline(len(names) - 1.5, color="white", linewidth=2)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(wide)), list(wide.index))
    controls = set(part["explainer"][part["family"] == "control"])
    for label in axes.get_yticklabels():
        label.set(fontstyle="italic" if label.get_text() in controls else "normal", fontsize=6)
    axes.tick_params(length=0)


def _colors() -> Colormap:
    colors = style.DIVERGING.copy()
    colors.set_bad("#D0D0D0")
    return colors
