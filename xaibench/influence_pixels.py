"""The pixels that matter most, one for each class, looked at closer: curves along tau and mean images of the reweighted data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from torch import Tensor

from xaibench.figures.pixels import curve_panels, image_rows
from xaibench.identity import predict_key
from xaibench.influence.analysis import Influence
from xaibench.influence.closer import TAUS, curves, mean_images
from xaibench.influence.reads import SCORES
from xaibench.influence_maps import UNITS, read
from xaibench.stages import arrays_of
from xaibench.stats.intervals import added_half_widths
from xaibench.tables.longtable import Results

FILE = "influence_pixels.safetensors"

Pixels = dict[tuple[int, int], str]
"""Rows and columns, and the classes that each raises most."""


def save(results: Results, maps: Path, path: Path) -> None:
    """What is known of these pixels, over the seeds; `maps` is the file of the analyses' maps, which tells the pixels."""
    if not maps.exists():
        return
    components = {entry.name: entry.component for entry in results.grid.influences}
    content = {name: (facts, raised_most(arrays, facts["classes"])) for name, facts, arrays, _ in read(maps)}
    members: dict[str, list[dict[str, NDArray[Any]]]] = {}
    images: dict[str, NDArray[Any]] = {}
    for names, training, _ in results.influences():
        name = f"{names['dataset']}-{names['model']}-{names['influence']}"
        (facts, pixels), test = content[name], arrays_of(training.dataset).test
        predicted = results.store.read("predict", predict_key(training)[0])
        if predicted is None or not pixels:
            continue
        influence, probabilities = components[names["influence"]], predicted.tensors["logits"].softmax(1)
        members.setdefault(name, []).append(
            curves(influence, test.images, probabilities, test.labels, facts["classes"], list(pixels), training.seed)
        )
        if name not in images:
            images[name] = mean_images(influence, test.images, list(pixels))
    _write({name: (*content[name], found, images[name]) for name, found in members.items()}, path)


def alone(influence: Influence, given: tuple[Tensor, Tensor, Tensor], classes: Sequence[str], maps: Path, path: Path) -> None:
    """The same for one analysis that belongs to no study; `given` are images, probabilities and labels."""
    ((name, facts, arrays, _),) = read(maps)
    pixels = raised_most(arrays, classes)
    if pixels:
        found = curves(influence, *given, classes, list(pixels))
        _write({name: (facts, pixels, [found], mean_images(influence, given[0], list(pixels)))}, path)


def raised_most(arrays: dict[str, NDArray[Any]], classes: Sequence[str]) -> Pixels:
    """For each class the pixel whose saturation raises its probability most; each pixel once; none where nothing can be saturated."""
    found: dict[tuple[int, int], list[str]] = {}
    for name, value in zip(classes, arrays["value"], strict=False):
        shown = np.where(arrays["moved"], value, np.nan)
        if np.isfinite(shown).any():
            row, column = np.unravel_index(int(np.nanargmax(shown)), shown.shape)
            found.setdefault((int(row), int(column)), []).append(name)
    return {place: ", ".join(names) for place, names in found.items()}


def _write(content: dict[str, tuple[dict[str, Any], Pixels, list[dict[str, NDArray[Any]]], NDArray[Any]]], path: Path) -> None:
    tensors: dict[str, NDArray[Any]] = {}
    about: dict[str, Any] = {}
    for name, (facts, pixels, members, images) in content.items():
        values = np.stack([one["means"] for one in members])
        found = {"means": values.mean(axis=0), "effective": members[0]["effective"], "images": images}
        if "means_low" in members[0]:
            half = added_half_widths(values, np.stack([one["means_high"] - one["means_low"] for one in members]) / 2)
            found |= {"low": found["means"] - half, "high": found["means"] + half}
        tensors |= {f"{name}/{key}": np.ascontiguousarray(value, dtype=np.float32) for key, value in found.items()}
        about[name] = facts | {"pixels": list(pixels), "raises": list(pixels.values())}
    if tensors:
        safetensors.numpy.save_file(tensors, path, metadata={"about": json.dumps(about, sort_keys=True)})


def draw(path: Path) -> None:
    """Figures beside the data."""
    for name, facts, arrays, only in read(path):
        suffix = "" if only else f"-{name}"
        titles = [f"{names}\n({row}, {column})" for (row, column), names in zip(facts["pixels"], facts["raises"], strict=True)]
        kinds = len(facts["classes"])
        bands = [arrays.get(end, arrays["means"]) for end in ("low", "high")]
        parts = {"influence_curves": (slice(None, kinds), facts["classes"], "mean probability")}
        parts |= {
            f"performance_curves_{score}": (slice(kinds + place, kinds + place + 1), [UNITS[score]], UNITS[score])
            for place, score in enumerate(SCORES)
        }
        for stem, (part, labels, unit) in parts.items():
            lines = [values[..., part] for values in (arrays["means"], *bands)]
            curve_panels(TAUS, *lines, titles=titles, labels=labels, unit=unit, path=path.parent / f"{stem}{suffix}.png")
        if arrays["images"].shape[-2] > 1:  # else these are columns of a table
            image_rows(arrays["images"], facts["pixels"], titles, path.parent / f"mean_images{suffix}.png")
