"""The figures of a study's folder as data URIs, with captions made from their names."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import safetensors
from PIL import Image

from xaibench.report.gallery import PICTURES
from xaibench.report.sprites import uri
from xaibench.report.study import Study

INFLUENCE = ("influence", "performance", "mean_images", "recall")
"""Names of figures about the influence of pixels begin so."""

SAVING = 0.9
"""A figure is written again with a palette of 256 colors if that takes at most so much of its bytes."""


@dataclass(frozen=True)
class Figure:
    """A figure of the page.

    Attributes
    ----------
    file, caption, source
        Its name, what it shows in words, and its data URI.
    width, height
        In pixels.
    """

    file: str
    caption: str
    source: str
    width: int
    height: int


def figures(study: Study, without: set[str], budget: int) -> tuple[list[Figure], list[Figure], list[str]]:
    """Figures on influence, other figures, and the names of those that do not fit the budget of bytes.

    Parameters
    ----------
    study
        Whose folder is read.
    without
        Beginnings of the names of figures whose data the page draws itself.
    budget
        Bytes for all data URIs.
    """
    kept, left = [], []
    for path in sorted(study.folder.glob("*.png")):
        if any(path.stem == name or path.stem.startswith(f"{name}-") for name in without):
            continue
        figure = _figure(path)
        if len(figure.source) > budget:
            left.append(path.name)
            continue
        budget -= len(figure.source)
        kept.append(figure)
    about = [figure for figure in kept if figure.file.startswith(INFLUENCE)]
    return about, [figure for figure in kept if figure not in about], left


def drawn(study: Study, gallery: bool, grids: bool) -> set[str]:
    """Beginnings of the names of figures that show what the page draws itself."""
    found = {"curves"} if not study.curves.empty else set()
    found |= {"confusion_matrix"} if not study.csv("confusion").empty else set()
    if (study.folder / PICTURES).is_file():
        with safetensors.safe_open(study.folder / PICTURES, framework="numpy") as file:
            about = json.loads(file.metadata()["about"])
        kinds = ({"maps"} if gallery else set()) | ({"counterfactuals"} if grids else set())
        found |= {key for content in about.values() for key, fields in content["pictures"].items() if fields["figure"] in kinds}
    return found


def caption(stem: str) -> str:
    """``curves-deletion`` gives "Curves: deletion"."""
    first, *rest = stem.replace("_", " ").split("-")
    return f"{first[:1].upper()}{first[1:]}" + (f": {', '.join(rest)}" if rest else "")


def _figure(path: Path) -> Figure:
    png = path.read_bytes()
    with Image.open(io.BytesIO(png)) as image:
        width, height = image.size
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image.convert("RGBA"), mask=image.convert("RGBA").getchannel("A"))
    smaller = io.BytesIO()
    flat.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(smaller, "png", optimize=True)
    chosen = smaller.getvalue() if len(smaller.getvalue()) <= SAVING * len(png) else png
    return Figure(path.name, caption(path.stem), uri(chosen), width, height)
