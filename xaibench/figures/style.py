"""What all figures share: fonts, color-blind safe colors, wrapped labels, and files that are the same bytes every time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from xaibench.tables.blocks import natural

VERSION = 1

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's palette, but for its yellow, which is too light for a line on white."""

DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (6, 1.5, 1, 1.5)))
GREYS = ("#555555", "#8C8C8C", "#B5B5B5")
GREY_DASHES: tuple[Any, ...] = ((0, (3, 2)), (0, (1, 1.5)), (0, (3, 1.5, 1, 1.5)))

AGAINST, FOR = "#2166AC", "#B2182B"
DIVERGING = LinearSegmentedColormap.from_list("against_for", ["#123F70", AGAINST, "#92C5DE", "#FFFFFF", "#F4A582", FOR, "#7A0F1D"])

SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "xaibench",
    "pdf.fonttype": 42,
}

PALETTE = 128
"""Colors of a flat png."""

METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def settings() -> Iterator[None]:
    """Matplotlib's own defaults with ours on top: a user's matplotlibrc does not change a figure."""
    with matplotlib.style.context(["default", SETTINGS]):
        yield


def new(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose parts make room for each other."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path, flat: bool = False) -> None:
    """Write the figure as png (150 dots per inch), svg or pdf, by the path's suffix, without dates or versions.

    Parameters
    ----------
    flat
        Whether the figure has few colors: a png then has a palette, and a third of the bytes.

    Raises
    ------
    ValueError
        If the suffix is none of these.
    """
    if path.suffix not in METADATA:
        raise ValueError(f"path={str(path)!r}: expected a suffix out of {', '.join(METADATA)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    usual: dict[str, Any] = {"dpi": "figure", "bbox_inches": "tight", "pad_inches": 0.08, "metadata": METADATA[path.suffix]}
    if not flat or path.suffix != ".png":
        figure.savefig(path, **usual)
        return
    drawn = io.BytesIO()
    figure.savefig(drawn, pil_kwargs={"compress_level": 0}, **usual)  # it is written again
    with Image.open(drawn) as image:
        few = image.convert("RGB").quantize(PALETTE, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def row_names(axes: Axes, names: Sequence[str], italic: Set[str], size: float = 6) -> None:
    """Names at the heights 0, 1, 2, ... on the left, some in italics, as labels of ticks would stand.

    Of ticks each is made and measured a dozen times; here the layout sees only the widest name.
    """
    axes.set_yticks([])
    place, vertical, horizontal = axes.get_yaxis_text1_transform(matplotlib.rcParams["ytick.major.pad"])
    look: dict[str, Any] = {"transform": place, "va": vertical, "ha": horizontal, "fontsize": size}
    texts = [axes.text(0, height, name, fontstyle="italic" if name in italic else "normal", **look) for height, name in enumerate(names)]
    widths = [text.get_window_extent().width for text in texts]
    for text, width in zip(texts, widths, strict=True):
        text.set_in_layout(width == max(widths))


def lines(explainers: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Color and dash of each explainer's line from (label, family) pairs, in natural order: controls last, grey and dashed."""
    families = dict(explainers)
    styles: dict[str, dict[str, Any]] = {}
    ordered = sorted((label for label in families if families[label] != "control"), key=natural)
    for position, label in enumerate(ordered):
        dash = DASHES[position // len(COLORS) % len(DASHES)]
        styles[label] = {"color": COLORS[position % len(COLORS)], "linestyle": dash, "zorder": 3}
    controls = sorted((label for label in families if families[label] == "control"), key=natural)
    for position, label in enumerate(controls):
        grey = GREYS[position % len(GREYS)]
        styles[label] = {"color": grey, "linestyle": GREY_DASHES[position % len(GREY_DASHES)], "zorder": 2}
    return styles


def families(explainers: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Thin lines in the colors of their families, by label and family: controls last, grey and dashed."""
    order = sorted({family for family in explainers.values() if family != "control"})
    colors = dict(zip(order, COLORS, strict=False))
    labels = sorted(explainers, key=lambda label: (explainers[label] == "control", natural(label)))
    look = {label: {"color": colors.get(explainers[label], GREYS[0]), "linewidth": 0.8, "zorder": 3} for label in labels}
    return {
        label: one | ({"linestyle": GREY_DASHES[0], "zorder": 4} if explainers[label] == "control" else {}) for label, one in look.items()
    }


def wrap(label: str, width: int = 15) -> str:
    """A component's label on several lines of about `width`: fields below the name; broken after underscores, commas, "=" and spaces."""
    rows = [""]
    for piece in re.split(r"(?=\[)|(?<=[_,= ])", label):
        if rows[-1] and (piece.startswith("[") or len(rows[-1]) + len(piece.strip()) > width):
            rows.append("")
        rows[-1] += piece
    return "\n".join(row.strip() for row in rows)


def scale(values: NDArray[Any], percentile: float = 99.5) -> float:
    """The percentile of the absolute values that are defined: an end of a color scale that outliers do not set. 1 where all are zero."""
    size = np.abs(values[np.isfinite(values)])
    limit = float(np.percentile(size, percentile)) if size.size else 0.0
    limit = limit if limit > 0 else float(size.max(initial=0.0))
    return limit if limit > 0 else 1.0


def transparent() -> ListedColormap:
    """Blue and red with an opacity that grows with the distance from zero, to lie over an image.

    The opacity rises faster than the distance, so that weak values remain visible; the color bar shows the same colors.
    """
    positions = np.linspace(-1, 1, 257)
    ends = np.where(positions[:, None] < 0, DIVERGING(0.12), DIVERGING(0.88))
    ends[:, 3] = np.abs(positions) ** 0.7
    return ListedColormap(ends, name="against_for_transparent")


def mappable(limit: float, colors: Any) -> ScalarMappable:
    """What a color bar needs: a symmetric scale and its colors."""
    return ScalarMappable(Normalize(-limit, limit), colors)


def gray(image: NDArray[Any]) -> NDArray[Any]:
    """(H, W) brightness of a (C, H, W) image in [0, 1] (ITU-R 601 weights for three channels)."""
    return np.tensordot([0.299, 0.587, 0.114], image, axes=1) if len(image) == 3 else image.mean(axis=0)


def picture(axes: Any, image: NDArray[Any]) -> None:
    """Draw a (C, H, W) image in [0, 1] as it is: color for three channels, else gray with 0 black and 1 white."""
    if len(image) == 3:
        axes.imshow(np.clip(image.transpose(1, 2, 0), 0, 1), interpolation="nearest")
    else:
        axes.imshow(gray(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def bare(axes: Any, color: str = "#CCCCCC", width: float = 0.6) -> None:
    """Take away ticks and leave a thin frame."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=color, linewidth=width)
