"""Positive and negative attributions of an image, each part divided by its own extreme."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xaibench.figures import style

VERSION = 1

CELL = 1.35


def signed_parts(images: NDArray[Any], values: NDArray[Any], row_labels: Sequence[str], path: Path) -> Figure:
    """Two maps for each image: positive values divided by their maximum, and negative ones by the magnitude of their minimum.

    Both maps run from 0 to 1, so their colors say nothing of how large one part is beside the other: the extremes stand above them.

    Parameters
    ----------
    images
        (N, C, H, W) in [0, 1]: the first column.
    values
        Signed (N, H, W).
    row_labels
        N texts.
    path
        File to write: png, svg or pdf.

    Raises
    ------
    ValueError
        If the shapes or numbers of images, values and labels do not fit together.
    """
    if values.shape != (len(images), *images.shape[-2:]) or len(row_labels) != len(images):
        raise ValueError(f"values of shape {values.shape}, {len(row_labels)} labels: expected one of each for {len(images)} images")
    with style.settings():
        figure = style.new(3 * CELL + 1.6, (CELL + 0.25) * len(images) + 0.5)
        panels = figure.subplots(len(images), 3, squeeze=False)
        for row, (image, one) in enumerate(zip(images, values, strict=True)):
            style.picture(panels[row, 0], image)
            panels[row, 0].set_ylabel(row_labels[row], rotation=0, ha="right", va="center", fontsize=8)
            for axes, part, sign, colors in ((panels[row, 1], one, "+", "Reds"), (panels[row, 2], -one, "−", "Blues")):
                extreme = float(max(part.max(), 0.0))
                share = np.maximum(part, 0) / (extreme or 1.0)
                drawn = axes.imshow(share, cmap=colors, vmin=0, vmax=1, interpolation="nearest")
                axes.set_title(f"{'positive' if sign == '+' else 'negative'}, 1 = {sign}{extreme:.2g}", fontsize=7)
                if row == len(images) - 1:
                    figure.colorbar(drawn, ax=panels[:, 1 if sign == "+" else 2], location="bottom", ticks=[0, 1], aspect=12)
        for axes in panels.flat:
            style.bare(axes)
        style.save(figure, path)
    return figure
