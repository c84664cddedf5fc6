"""Counterfactuals for the page: images by desired classes, as they are and as the change from the image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from xaibench.explaining import FLAGS
from xaibench.pictures import FLAG
from xaibench.report import sprites
from xaibench.report.gallery import PICTURES, as_bytes

GRAYS, LEVELS = 32, 31


def grids(folder: Path) -> list[dict[str, Any]]:
    """For each data set and model its images and, by explainer, a sprite of counterfactuals, one of changes, and a flag for each pair."""
    if not (folder / PICTURES).is_file():
        return []
    found = []
    with safetensors.safe_open(folder / PICTURES, framework="numpy") as file:
        about, keys = json.loads(file.metadata()["about"]), set(file.keys())
        for name, content in sorted(about.items()):
            images = as_bytes(file.get_tensor(f"{name}/images"))
            made = {}
            for label in sorted(content["explainers"]):
                if f"{name}/{label}/{FLAG}" in keys:
                    made[label] = _grid(images, file.get_tensor(f"{name}/{label}"), file.get_tensor(f"{name}/{label}/{FLAG}"))
            if made:
                kept = {key: content[key] for key in ("index", "targets", "labels", "predicted", "probability", "classes")}
                size = {"size": [images.shape[-1], images.shape[-2]], "columns": sprites.COLUMNS}
                found.append({"name": name, **size, "images": sprites.color(images), "explainers": made, **kept})
    return found


def _grid(images: NDArray[np.uint8], proposals: NDArray[np.uint8], flags: NDArray[Any]) -> dict[str, Any]:
    tiles = proposals.reshape(-1, *proposals.shape[2:])
    change = proposals.astype(np.int16) - images[:, None].astype(np.int16)
    scaled = np.rint(change.mean(axis=2) * 127 / 255).astype(np.int8).reshape(-1, *images.shape[-2:])
    return {
        "shown": sprites.color(tiles),
        "change": sprites.signed(scaled, LEVELS),
        "flags": [[FLAGS[int(flag)] for flag in row] for row in flags],
    }
