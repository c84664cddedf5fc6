"""Chosen pixels: what is read of the predictions along tau, and the mean images of the reweighted data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from xaibench.figures import style

VERSION = 1

COLUMNS, NAMED = 5, 3
"""Panels in a row, and how many lines of a panel are colored and named: those that move most."""

ROWS = ("tau = -1", "as it is", "tau = 1")


def curve_panels(
    taus: Sequence[float],
    mean: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    *,
    titles: Sequence[str],
    labels: Sequence[str],
    unit: str,
    path: Path,
) -> Figure:
    """A panel for each pixel, with a line for each number along tau; the `NAMED` that move most have colors, bands and names.

    Parameters
    ----------
    taus
        S numbers.
    mean, low, high
        (P, S, R).
    titles, labels
        P and R texts.
    unit
        Of all of them.
    path
        File to write: png, svg or pdf.
    """
    columns = min(COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    with style.settings():
        figure = style.new(1.75 * columns + 0.4, 1.75 * rows + 0.4)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, title, middle, below, above in zip(panels, titles, mean, low, high, strict=False):
            moved = np.ptp(np.nan_to_num(middle), axis=0)
            named = np.argsort(-moved, kind="stable")[:NAMED]
            axes.plot(taus, np.delete(middle, named, axis=1), color="#CCCCCC", linewidth=0.7, zorder=1)
            for place, color in zip(named, style.COLORS, strict=False):
                axes.plot(taus, middle[:, place], color=color, label=labels[place], zorder=3)
                axes.fill_between(taus, below[:, place], above[:, place], color=color, alpha=0.18, linewidth=0, zorder=2)
            if len(labels) > 1:
                axes.legend(frameon=False, fontsize=6, loc="best", handlelength=1.2, borderaxespad=0.2)
            axes.set(title=title, xlim=(taus[0], taus[-1]))
            axes.grid(color="#EEEEEE", linewidth=0.5)
        for axes in panels[len(titles) :]:
            axes.axis("off")
        figure.supxlabel("tau: from the low target of the pixel (-1) over its mean (0) to the high one (1)", fontsize=7)
        figure.supylabel(unit, fontsize=7)
        style.save(figure, path)
    return figure


def image_rows(images: NDArray[Any], pixels: Sequence[Sequence[int]], titles: Sequence[str], path: Path) -> Figure:
    """Mean images of the reweighted data: a column for each pixel, outlined, and rows for three taus and the change between the ends.

    Parameters
    ----------
    images
        (P, 3, C, H, W), black is 0, and white 1 or the largest value if that is above.
    pixels
        P pairs (row, column).
    titles
        P texts.
    path
        File to write: png, svg or pdf.
    """
    change = (images[:, 2] - images[:, 0]).mean(axis=1)
    end = float(np.nanmax(np.abs(change))) or 1.0
    low, high = min(0.0, float(np.nanmin(images))), max(1.0, float(np.nanmax(images)))
    shown = np.nan_to_num((images - low) / (high - low))
    with style.settings():
        figure = style.new(1.0 * len(pixels) + 1.3, 4.6)
        panels = figure.subplots(len(ROWS) + 1, len(pixels), squeeze=False)
        for column, place in enumerate(pixels):
            for row in range(len(ROWS)):
                style.picture(panels[row, column], shown[column, row])
            panels[-1, column].imshow(change[column], cmap=style.DIVERGING, vmin=-end, vmax=end, interpolation="nearest")
            panels[0, column].set_title(titles[column])
            for axes in panels[:, column]:
                axes.add_patch(Rectangle((place[1] - 0.5, place[0] - 0.5), 1, 1, fill=False, edgecolor=style.COLORS[5], linewidth=1))
                style.bare(axes)
        for axes, text in zip(panels[:, 0], (*ROWS, "change"), strict=True):
            axes.set_ylabel(text)
        bar = figure.colorbar(style.mappable(end, style.DIVERGING), ax=list(panels.ravel()), location="right", shrink=0.4, pad=0.01)
        bar.ax.tick_params(labelsize=6)
        style.save(figure, path)
    return figure
