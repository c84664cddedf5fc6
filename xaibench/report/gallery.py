"""The gallery: quantized maps of the first explained images in a study's folder, and as sprites that fit a budget."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray

from xaibench.disk import save_arrays
from xaibench.pictures import first_explanations
from xaibench.report import sprites
from xaibench.stages import arrays_of
from xaibench.tables.longtable import Results

FILE, PICTURES = "gallery.safetensors", "maps.safetensors"

IMAGES, MAPS = 100, 300
"""At most so many images are kept, and, where several classes are explained, so many maps of each explainer (but ten images at least)."""

STEPS = ((63, 100), (31, 100), (15, 100), (15, 50), (7, 50), (7, 25), (7, 10))
"""Levels of color and number of images, from the best: the first that fits the budget is taken."""


@dataclass(frozen=True)
class Gallery:
    """Explanations of one classifier.

    Attributes
    ----------
    name
        ``dataset-model``.
    about
        `index`, `targets` (N, T), `labels`, `predicted`, `probability`, `classes`.
    images
        (N, C, H, W), bytes.
    maps
        Quantized (N, T, H, W) by explainer.
    """

    name: str
    about: dict[str, Any]
    images: NDArray[np.uint8]
    maps: dict[str, NDArray[np.int8]]

    def first(self, count: int) -> Gallery:
        """The first images."""
        short = {key: value if key == "classes" else value[:count] for key, value in self.about.items()}
        return replace(self, about=short, images=self.images[:count], maps={name: part[:count] for name, part in self.maps.items()})


def save(results: Results, path: Path) -> None:
    """Keep images and maps of each data set and model with its first seed and draw; no file where nothing has a map."""
    tensors: dict[str, NDArray[Any]] = {}
    about: dict[str, dict[str, Any]] = {}
    for name, label, cell, artifact in first_explanations(results):
        if "found" in artifact.tensors:
            continue
        targets = artifact.tensors["targets"].numpy()
        rows = slice(0, min(IMAGES, max(10, MAPS // targets.shape[1])))
        index = artifact.tensors["index"].numpy()[rows]
        tensors[f"{name}/{label}"] = sprites.quantized(artifact.tensors["values"][rows].sum(dim=2).numpy())
        if name not in about:
            dataset = cell.dataset.component
            images = (255 * arrays_of(dataset).test.images[index].clamp(0, 1)).round().to(torch.uint8)
            tensors[f"{name}/images"] = images.numpy()
            about[name] = _about(index, targets[rows], results.prediction(cell.training), dataset.classes)
    if tensors:
        save_arrays(tensors, path, about)


def load(folder: Path) -> list[Gallery]:
    """The galleries of a study's folder; without a gallery file, the attributions that its pictures show."""
    path = next((folder / name for name in (FILE, PICTURES) if (folder / name).is_file()), None)
    if path is None:
        return []
    found = []
    with safetensors.safe_open(path, framework="numpy") as file:
        about, keys = json.loads(file.metadata()["about"]), sorted(file.keys())
        for name, content in sorted(about.items()):
            labels = [key.removeprefix(f"{name}/") for key in keys if key.startswith(f"{name}/") and key != f"{name}/images"]
            shown = [label for label in labels if f"{name}/{label}/flag" not in keys and not label.endswith("/flag")]
            maps = {label: _map(file.get_tensor(f"{name}/{label}")) for label in shown}
            kept = {key: content[key] for key in ("index", "targets", "labels", "predicted", "probability", "classes")}
            if maps:
                found.append(Gallery(name, kept, as_bytes(file.get_tensor(f"{name}/images")), maps))
    return found


def as_bytes(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images as bytes, from bytes or from [0, 1]."""
    if images.dtype == np.uint8:
        return images
    return np.rint(255 * np.clip(images.astype(np.float64), 0, 1)).astype(np.uint8)


def fitted(galleries: list[Gallery], budget: int) -> tuple[list[dict[str, Any]], str]:
    """The galleries as the page's script reads them, within a budget of bytes, and a sentence that tells what was reduced."""
    most = max((len(one.images) for one in galleries), default=0)
    for levels, count in dict.fromkeys((levels, min(count, most)) for levels, count in STEPS):
        told = f"{levels} levels of color, {'all' if count >= most else f'the first {count} of {most}'} images"
        found = _sprites([one.first(count) for one in galleries], levels, budget)
        if found is not None:
            return found, told
    return [], f"Left out: the maps of {most} images do not fit {budget / 1e6:.1f} MB."


def _sprites(galleries: list[Gallery], levels: int, budget: int) -> list[dict[str, Any]] | None:
    """Sprites, or None as soon as they exceed the budget."""
    found = []
    for one in galleries:
        height, width = one.images.shape[-2:]
        images, drawn, blank = sprites.color(one.images), {}, {}
        budget -= len(images)
        for label, values in one.maps.items():
            each = values.reshape(-1, height, width)
            drawn[label], blank[label] = sprites.signed(each, levels), _blank(each)
            budget -= len(drawn[label])
            if budget < 0:
                return None
        size = {"size": [width, height], "columns": sprites.COLUMNS}
        found.append({"name": one.name, **size, "images": images, "maps": drawn, "blank": blank, **one.about})
    return found


def _blank(maps: NDArray[np.int8]) -> dict[int, str]:
    """By position, what a map (H, W) is everywhere that shows nothing."""
    found = dict.fromkeys(np.flatnonzero(~maps.any(axis=(1, 2))).tolist(), "zero")
    return found | dict.fromkeys(np.flatnonzero((maps == sprites.UNDEFINED).all(axis=(1, 2))).tolist(), "undefined")


def _map(values: NDArray[Any]) -> NDArray[np.int8]:
    """A stored map (N, T, H, W), quantized; pictures hold floats (N, T, C, H, W)."""
    return values if values.dtype == np.int8 else sprites.quantized(values.astype(np.float64).sum(axis=2))


def _about(index: NDArray[Any], targets: NDArray[Any], prediction: tuple[NDArray[Any], ...], classes: tuple[str, ...]) -> dict[str, Any]:
    labels, predicted, probability = (part[index] for part in prediction)
    return {
        "index": index.tolist(),
        "targets": targets.tolist(),
        "labels": labels.tolist(),
        "predicted": predicted.tolist(),
        "probability": [round(float(value), 4) for value in probability],
        "classes": list(classes),
    }
