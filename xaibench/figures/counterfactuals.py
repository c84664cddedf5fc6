"""Counterfactuals: images x desired classes, the originals among them, and what was changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from xaibench.figures import style

VERSION = 1

CELL = 0.62
"""Side of an image in inches."""

NONE_FOUND = 0.72
"""Brightness of a cell without a counterfactual."""

ADDED, REMOVED = (1.0, 0.16, 0.12), (0.15, 0.5, 1.0)
"""Colors of what is brighter than before, and of what is darker."""

OUTLINE = "#E69F00"


def counterfactuals(
    images: NDArray[Any],
    proposals: NDArray[Any],
    found: NDArray[Any],
    asked: NDArray[Any],
    predicted: Sequence[int],
    class_names: Sequence[str],
    row_labels: Sequence[str],
    title: str,
    path: Path,
    color: bool = False,
) -> Figure:
    """One method's counterfactual for each image (row) and desired class (column); gray where none was found.

    The column of the predicted class has the original, outlined. Where the predicted class itself is looked for, as for pertinent
    positives, the originals stand in a column of their own.

    Parameters
    ----------
    images
        (N, C, H, W) in [0, 1].
    proposals
        (N, K, C, H, W) in [0, 1].
    found, asked
        (N, K), bool. A cell that was not asked for stays empty.
    predicted
        N columns of the predicted classes.
    class_names
        K texts.
    row_labels
        N texts, such as true class, predicted class and its probability.
    title
        Which explainer.
    path
        File to write: png, svg or pdf.
    color
        Whether the original is drawn in gray with what was added in red and what was removed in blue, instead of the counterfactual.

    Raises
    ------
    ValueError
        If the shapes or numbers of images, proposals, names and labels do not fit together.
    """
    _check(images, proposals, found, asked, predicted, class_names, row_labels)
    own = bool(asked[np.arange(len(images)), list(predicted)].any())
    tiles = _tiles(images, proposals, found, asked, None if own else predicted, color)
    names, outlined = list(class_names), list(predicted)
    if own:
        tiles, names = np.concatenate([_colors(images)[:, None], tiles], axis=1), ["image", *names]
        outlined = [0] * len(images)
    rows, columns, height, width, _ = tiles.shape
    gap = max(1, width // 14)
    framed = np.pad(tiles, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=1.0)
    mosaic = framed.transpose(0, 2, 1, 3, 4).reshape(rows * (height + gap), columns * (width + gap), 3).clip(0, 1)
    counts = [f"{label}\n{int(one.sum())} of {int(all_.sum())} found" for label, one, all_ in zip(row_labels, found, asked, strict=True)]
    with style.settings():
        figure = style.new(CELL * columns + 1.6, CELL * rows * height / width + 1.3)
        axes = figure.subplots()
        axes.imshow(mosaic, interpolation="nearest")
        for row, column in enumerate(outlined):
            corner = column * (width + gap) - 0.5, row * (height + gap) - 0.5
            axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=OUTLINE, linewidth=2.0, clip_on=False))
        labels = [style.wrap(name) for name in names]
        turned = max(map(len, "\n".join(labels).split("\n"))) > 9
        axes.set_xticks(np.arange(columns) * (width + gap) + (width - 1) / 2, labels=labels, rotation=90 if turned else 0, fontsize=8)
        axes.set_yticks(np.arange(rows) * (height + gap) + (height - 1) / 2, labels=counts, fontsize=7)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.set_title(f"{title}: {int(found.sum())} of {int(asked.sum())} counterfactuals found", fontsize=9)
        axes.set_xlabel(fill(_caption(color, own), int(16 * figure.get_figwidth())), fontsize=7)
        style.save(figure, path)
    return figure


def changes(original: NDArray[Any], counterfactual: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3): the original's brightness, red where the counterfactual is brighter and blue where it is darker.

    The opacity of the color is the square root of the change: small changes remain visible.
    """
    before, after = style.gray(original), style.gray(counterfactual)
    change = np.clip(after - before, -1, 1)[..., None]
    paint = np.where(change > 0, np.array(ADDED), np.array(REMOVED))
    opacity = np.sqrt(np.abs(change))
    mixed: NDArray[Any] = (1 - opacity) * before[..., None].clip(0, 1) + opacity * paint
    return mixed


def _tiles(
    images: NDArray[Any], proposals: NDArray[Any], found: NDArray[Any], asked: NDArray[Any], predicted: Sequence[int] | None, color: bool
) -> NDArray[Any]:
    """(N, K, H, W, 3): the cells; originals at the predicted classes, if these are given."""
    count, classes = found.shape
    tiles = np.ones((count, classes, *images.shape[-2:], 3))
    tiles[asked & ~found] = NONE_FOUND
    for row, column in np.argwhere(found):
        shown = proposals[row, column]
        tiles[row, column] = changes(images[row], shown) if color else _colors(shown[None])[0]
    if predicted is not None:
        tiles[np.arange(count), list(predicted)] = _colors(images)
    return tiles


def _colors(images: NDArray[Any]) -> NDArray[Any]:
    """(N, H, W, 3): images as they are, gray or in color."""
    return (images.repeat(3, axis=1) if images.shape[1] == 1 else images).clip(0, 1).transpose(0, 2, 3, 1)


def _caption(color: bool, own: bool) -> str:
    where = "the original, in a column of its own" if own else "the original, in the column of its predicted class"
    how = "the original in gray, red where pixels became brighter and blue where darker" if color else "0 black, 1 white"
    return (
        f"columns: desired class; outlined: {where}; gray cells: none found; rows: true class → predicted class and its probability; {how}"
    )


def _check(
    images: NDArray[Any],
    proposals: NDArray[Any],
    found: NDArray[Any],
    asked: NDArray[Any],
    predicted: Sequence[int],
    class_names: Sequence[str],
    row_labels: Sequence[str],
) -> None:
    pairs = (len(images), len(class_names))
    for name, shape, expected in (
        ("proposals", proposals.shape, (*pairs, *images.shape[1:])),
        ("found", found.shape, pairs),
        ("asked", asked.shape, pairs),
    ):
        if shape != expected:
            raise ValueError(f"{name} of shape {shape}: expected {expected}, as images and class_names")
    if not len(images) or not len(images) == len(row_labels) == len(predicted):
        raise ValueError(f"{len(row_labels)} labels and {len(predicted)} predictions for {len(images)} images: expected one for each")
