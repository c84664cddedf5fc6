"""Figures about the classifier itself: learning curves and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from xaibench.figures import style

VERSION = 1

SPLITS = {"train": ("training", style.COLORS[0], "-"), "validation": ("validation", style.COLORS[1], style.DASHES[1])}


def learning_curves(history: pd.DataFrame, path: Path) -> Figure:
    """Loss and accuracy of training and validation by epoch, one thin line for each seed.

    Parameters
    ----------
    history
        Columns seed, epoch, train_loss, validation_loss, train_accuracy, validation_accuracy (in [0, 1]).
    path
        File to write: png, svg or pdf.
    """
    seeds = sorted(history["seed"].unique())
    markers = {"marker": "o", "markersize": 2.5} if history["epoch"].nunique() <= 30 else {}
    with style.settings():
        figure = style.new(6.4, 2.6)
        for axes, quantity in zip(figure.subplots(1, 2), ["loss", "accuracy"], strict=True):
            for split, (name, color, dash) in SPLITS.items():
                for position, seed in enumerate(seeds):
                    rows = history[history["seed"] == seed].sort_values("epoch")
                    label = f"{name} ({len(seeds)} seeds)" if len(seeds) > 1 else name
                    look = {"color": color, "linestyle": dash, "linewidth": 1.2, "alpha": 1.0 if len(seeds) == 1 else 0.7, **markers}
                    axes.plot(rows["epoch"], rows[f"{split}_{quantity}"], label=label if position == 0 else None, **look)
            axes.set(xlabel="epoch", ylabel=quantity)
            axes.grid(color="#E5E5E5", linewidth=0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
        style.save(figure, path)
    return figure


def confusion_matrix(matrix: NDArray[Any], class_names: Sequence[str], path: Path) -> Figure:
    """How many images of each true class (rows) were taken for each class (columns), colored by the share of the row.

    Parameters
    ----------
    matrix
        (K, K) counts: true class x predicted class.
    class_names
        K texts.
    path
        File to write: png, svg or pdf.

    Raises
    ------
    ValueError
        If the matrix is not (K, K).
    """
    counts, size = np.asarray(matrix), len(class_names)
    if counts.shape != (size, size):
        raise ValueError(f"matrix of shape {counts.shape}: expected ({size}, {size}), as class_names")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 0.42 * size + 0.16 * max(map(len, class_names)) ** 0.9
    with style.settings():
        figure = style.new(side + 1.6, side + 0.9)
        axes = figure.add_subplot()
        drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            color = "#FFFFFF" if shares[row, column] > 0.5 else "#000000" if count else "#BBBBBB"
            axes.text(column, row, f"{count}", ha="center", va="center", color=color, fontsize=7)
        axes.set_xticks(range(size), class_names, rotation=0 if max(map(len, class_names)) <= 3 else 90)
        axes.set_yticks(range(size), class_names)
        right = np.trace(counts) / max(counts.sum(), 1)
        axes.set(xlabel="predicted class", ylabel="true class", title=f"{counts.sum()} images, {right:.2%} correct")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.colorbar(drawn, ax=axes, label="share of the true class", format=PercentFormatter(1.0), shrink=0.8)
        style.save(figure, path)
    return figure
