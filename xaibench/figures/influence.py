"""Influence of pixels: heat maps on a common scale in the unit of what is predicted, gray where a pixel cannot be moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xaibench.figures import style

VERSION = 1

CELL = 1.35
"""Side of a map in inches."""

UNMOVED = "#D0D0D0"
MOST_COLUMNS = 5


def heat_maps(
    values: NDArray[Any],
    moved: NDArray[Any],
    titles: Sequence[str],
    unit: str,
    path: Path,
    common: bool = True,
) -> Figure:
    """Maps side by side: red where saturating a pixel raises the number, blue where it lowers it, gray where nothing is saturated.

    Parameters
    ----------
    values
        (R, H, W); NaN is gray.
    moved
        (H, W), bool.
    titles
        R texts.
    unit
        Of the color bar, or of all of them, such as "change of the mean probability".
    path
        File to write: png, svg or pdf.
    common
        One scale, symmetric about 0, whose end is the largest value of all maps; else each map has its own.

    Raises
    ------
    ValueError
        If the numbers of maps and titles, or the sizes of maps and `moved`, differ.
    """
    if len(values) != len(titles) or values.shape[1:] != moved.shape:
        raise ValueError(f"values of shape {values.shape}: expected {len(titles)} maps of {moved.shape}")
    shown = np.where(moved, values, np.nan)
    columns = min(MOST_COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    colors = style.DIVERGING.copy()
    colors.set_bad(UNMOVED)
    with style.settings():
        figure = style.new(CELL * columns + 1.2, (CELL + 0.25) * rows + (0.8 if common else 1.2))
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        limit = _end(shown)
        for axes, one, title in zip(panels, shown, titles, strict=False):
            end = limit if common else _end(one)
            axes.imshow(one, cmap=colors, vmin=-end, vmax=end, interpolation="nearest")
            axes.set_title(title)
            style.bare(axes)
            if not common:
                figure.colorbar(style.mappable(end, colors), ax=axes, location="bottom", shrink=0.9).ax.tick_params(labelsize=6)
        for axes in panels[len(titles) :]:
            axes.axis("off")
        text = f"{unit}; gray: pixels that cannot be saturated"
        if common:
            figure.colorbar(style.mappable(limit, colors), ax=list(panels), location="bottom", shrink=0.6, aspect=40, pad=0.03)
        figure.supxlabel(fill(text, int(17 * figure.get_figwidth())), fontsize=7)
        style.save(figure, path)
    return figure


def _end(values: NDArray[Any]) -> float:
    """The largest absolute value: nothing is clipped. 1 where all are zero."""
    found = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    return float(found) or 1.0
