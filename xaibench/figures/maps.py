"""Attribution maps: explainers side by side, and one explainer for all classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, Literal

import numpy as np
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xaibench.figures import style

VERSION = 1

CELL = 0.95
TILE = 0.5
"""Sides of a map in inches, over all classes and below other explainers'."""

SHEET, ACROSS = 1.4, 7
"""Width of a picture of a sheet in inches, and pictures side by side."""

FAINT = 0.2
"""How dark the image under a map is at most."""


def grid(images: NDArray[Any], maps: Mapping[str, NDArray[Any]], labels: Sequence[str], path: Path) -> Figure:
    """Explainers x images: each map on a scale of its own, red where it speaks for the class and blue where against.

    Parameters
    ----------
    images
        (N, C, H, W) in [0, 1]: the first row.
    maps
        Signed (N, C or 1, H, W) by explainer, in the order of the rows; channels are summed.
    labels
        N texts above the columns, such as the class explained.
    path
        File to write: png, svg or pdf.

    Raises
    ------
    ValueError
        If the number of images, maps and labels, or the sizes of images and maps, differ.
    """
    for label, values in maps.items():
        if len(values) != len(images) or values.shape[-2:] != images.shape[-2:]:
            raise ValueError(f"maps[{label!r}] of shape {values.shape}: expected {len(images)} maps of {images.shape[-2:]}")
    _check_labels(images, labels)
    tiles = np.stack([_shown(images), *(np.stack([_colored(one.sum(axis=0)) for one in values]) for values in maps.values())])
    gap = max(1, images.shape[-1] // 14)
    rows, columns, height, width, _ = tiles.shape
    framed = np.pad(tiles, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=1.0)
    # One picture of all tiles: hundreds of axes take minutes to lay out.
    mosaic = framed.transpose(0, 2, 1, 3, 4).reshape(rows * (height + gap), columns * (width + gap), 4)
    with style.settings():
        figure = style.new(TILE * columns + 2.2, TILE * rows * height / width + 1.8)
        axes = figure.subplots()
        axes.imshow(mosaic, interpolation="nearest")
        axes.set_xticks(np.arange(columns) * (width + gap) + (width - 1) / 2, labels=labels, rotation=90, fontsize=7)
        axes.set_yticks(np.arange(rows) * (height + gap) + (height - 1) / 2, labels=["image", *maps], fontsize=7)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        text = "each map on its own scale; above: the images as the classifier sees them (0 black, 1 white)"
        _bar(figure, axes, None, style.DIVERGING, text)
        style.save(figure, path)
    return figure


def all_classes(
    images: NDArray[Any],
    values: NDArray[Any],
    class_names: Sequence[str],
    row_labels: Sequence[str],
    path: Path,
    predicted: Sequence[int] | None = None,
    scale: Literal["figure", "row"] = "figure",
) -> Figure:
    """One explainer's map for every class: red where a pixel speaks for the class, blue where against, over the faint image.

    Parameters
    ----------
    images
        (N, C, H, W) in [0, 1]: the first column.
    values
        Signed (N, K, H, W).
    class_names
        K texts.
    row_labels
        N texts, such as the predicted class and its probability.
    path
        File to write: png, svg or pdf.
    predicted
        N classes whose cells are outlined.
    scale
        One symmetric scale for the whole figure, or one for each row. Its ends are the 99.5th percentile of the absolute values.

    Raises
    ------
    ValueError
        If the shapes or numbers of images, values, names and labels do not fit together.
    """
    expected = (len(images), len(class_names), *images.shape[-2:])
    if values.shape != expected:
        raise ValueError(f"values of shape {values.shape}: expected {expected}, as images and class_names")
    _check_labels(images, row_labels)
    limits = [style.scale(values if scale == "figure" else row) for row in values]
    rows, columns = len(images), len(class_names) + 1
    colors = style.transparent()
    with style.settings():
        figure = style.new(CELL * columns + 0.9, CELL * rows + 0.9)
        panels = figure.subplots(rows, columns, squeeze=False)
        for row, image in enumerate(images):
            style.picture(panels[row, 0], image)
            _row_label(panels[row, 0], row_labels[row])
            for axes, one in zip(panels[row, 1:], values[row], strict=True):
                axes.imshow(FAINT * style.gray(image), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
                axes.imshow(one, cmap=colors, vmin=-limits[row], vmax=limits[row], interpolation="nearest")
        for axes, title in zip(panels[0], ["image", *class_names], strict=True):
            axes.set_title(style.wrap(title), fontsize=8)
        for axes in panels.flat:
            style.bare(axes)
        for row, chosen in enumerate(predicted if predicted is not None else []):
            style.bare(panels[row, 1 + int(chosen)], "#000000", 2.0)
        text = "all maps on one scale" if scale == "figure" else "each row on its own scale"
        text += "; outlined: predicted class" if predicted is not None else ""
        text += "; left: the image as the classifier sees it (0 black, 1 white), under the maps faint and with dark and light exchanged"
        _bar(figure, panels, limits[0] if scale == "figure" else None, colors, text)
        style.save(figure, path)
    return figure


def sheet(image: NDArray[Any], maps: Mapping[str, NDArray[Any]], title: str, path: Path) -> Figure:
    """An image and each explainer's map of it, side by side, each map on a scale of its own.

    Parameters
    ----------
    image
        (C, H, W) in [0, 1].
    maps
        Signed (C or 1, H, W) by explainer; channels are summed.
    title
        What is explained.
    path
        File to write: png, svg or pdf.
    """
    tiles = {"image": _shown(image[None])[0]} | {name: _colored(values.sum(axis=0)) for name, values in maps.items()}
    columns = min(ACROSS, len(tiles))
    rows = -(-len(tiles) // columns)
    with style.settings():
        figure = style.new(SHEET * columns, (SHEET * image.shape[1] / image.shape[2] + 0.3) * rows + 0.9)
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes in panels.flat:
            axes.set_axis_off()
        for axes, (name, tile) in zip(panels.flat, tiles.items(), strict=False):
            axes.imshow(tile, interpolation="nearest")
            axes.set_title(style.wrap(name, 22), fontsize=7, pad=2)
        figure.suptitle(title, fontsize=10)
        _bar(figure, list(panels.flat), None, style.DIVERGING, "each map on its own scale")
        style.save(figure, path)
    return figure


def _shown(images: NDArray[Any]) -> NDArray[Any]:
    """(N, H, W, 4): images as they are, gray or in color."""
    colors = images.repeat(3, axis=1) if images.shape[1] == 1 else images
    return np.concatenate([colors, np.ones_like(colors[:, :1])], axis=1).clip(0, 1).transpose(0, 2, 3, 1)


def _colored(values: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 4): a signed map (H, W) on its own scale."""
    return np.asarray(style.DIVERGING(0.5 + 0.5 * values / style.scale(values)))


def _bar(figure: Figure, panels: Any, limit: float | None, colors: Colormap, text: str) -> None:
    """The color bar, which says what the signs mean; without a limit its ends differ between maps."""
    width = figure.get_figwidth()
    mappable = style.mappable(limit or 1.0, colors)
    pad = min(0.05, 0.2 / figure.get_figheight())
    bar = figure.colorbar(mappable, ax=panels, location="bottom", aspect=30, shrink=min(0.8, 4.5 / width), pad=pad, extend="both")
    ends = ("", "") if limit is None else (f"−{limit:.2g}\n", f"{limit:.2g}\n")
    bar.set_ticks([-(limit or 1.0), 0, limit or 1.0], labels=[f"{ends[0]}against the class", "0", f"{ends[1]}for the class"])
    bar.set_label(fill(f"{text}; ends: 99.5th percentile of the absolute values", int(17 * width)), fontsize=7)


def _row_label(axes: Any, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8)


def _check_labels(images: NDArray[Any], labels: Sequence[str]) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images of shape {images.shape}: expected (N, 1 or 3, H, W)")
    if not len(images) or len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} images: expected one for each, and at least one")
    if not np.isfinite(images).all():
        raise ValueError("images with NaN or infinite pixels: expected numbers in [0, 1]")
