"""Pictures of explanations: which images they show, their data in a study's folder, and drawing them from these data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from torch import Tensor

from xaibench.component import Component, NonNegativeInt, PositiveInt
from xaibench.disk import save_arrays
from xaibench.explaining import FLAGS
from xaibench.figures import maps
from xaibench.figures.counterfactuals import counterfactuals
from xaibench.figures.signed_parts import signed_parts
from xaibench.grid import Cell
from xaibench.stages import arrays_of
from xaibench.store import Artifact
from xaibench.tables.longtable import Results

FLAG = "flag"
"""Ends the name of the tensor that tells what was found, beside one with counterfactuals."""


@dataclass(frozen=True)
class Picture(Component):
    """A figure with explanations of some of the explained images, by the classifiers of the first seed.

    Parameters
    ----------
    figure
        ``maps``: explainers side by side, for the predicted class if it is explained. ``all_classes``: one figure for each explainer
        that explains several classes. ``signed_parts``: positive and negative part for the predicted class, one figure for each
        explainer. ``counterfactuals``: images by desired classes, one figure for each explainer that looks for counterfactuals. The
        first three show attributions alone.
    indices
        Positions in the test set, in the order of the rows; null chooses by the conditions below.
    true_class, correct
        Only images of these classes; only rightly (true) or wrongly (false) classified ones.
    per_class
        The first images of each class; null sets no such limit.
    count
        How many images at most.
    explainers
        Names of explainers; null takes all.
    scale
        Of ``all_classes``: one for the whole figure, or one for each row.
    color
        Of ``counterfactuals``: whether the change is drawn in color on the original, instead of the counterfactual.
    """

    figure: Literal["maps", "all_classes", "signed_parts", "counterfactuals"] = "all_classes"
    indices: tuple[NonNegativeInt, ...] | None = None
    true_class: tuple[NonNegativeInt, ...] | None = None
    correct: bool | None = None
    per_class: PositiveInt | None = None
    count: PositiveInt = 10
    explainers: tuple[str, ...] | None = None
    scale: Literal["figure", "row"] = "figure"
    color: bool = False

    def rows(self, index: NDArray[Any], labels: NDArray[Any], predicted: NDArray[Any]) -> list[int]:
        """Positions among the explained images of what is drawn: in the order of `indices`, else by true class and test position."""
        if self.indices is not None:
            places = {int(value): row for row, value in enumerate(index)}
            return [places[value] for value in self.indices if value in places]
        keep = np.ones(len(index), dtype=bool)
        if self.true_class is not None:
            keep &= np.isin(labels, self.true_class)
        if self.correct is not None:
            keep &= (labels == predicted) == self.correct
        rows = np.flatnonzero(keep)
        rank = np.array([(labels[rows[:place]] == labels[row]).sum() for place, row in enumerate(rows)], dtype=int)
        if self.per_class is not None:
            rows, rank = rows[rank < self.per_class], rank[rank < self.per_class]
        chosen = rows[np.lexsort((index[rows], rank))][: self.count]  # every class once before any twice
        return [int(row) for row in chosen[np.lexsort((index[chosen], labels[chosen]))]]


def first_explanations(results: Results) -> Iterator[tuple[str, str, Cell, Artifact]]:
    """Of each data set and model, by name, every explainer's explanation with the first seed and draw, by its label."""
    firsts: dict[str, tuple[int, int]] = {}
    found: set[tuple[str, str]] = set()
    for cell, _ in results.found:
        facts = results.facts(cell)
        name, label = f"{facts['dataset']}-{facts['model']}", facts["explainer"]
        if firsts.setdefault(name, (cell.seed, cell.draw)) == (cell.seed, cell.draw) and (name, label) not in found:
            artifact = results.store.read("explain", cell.explaining.key)
            if artifact is not None:
                found.add((name, label))
                yield name, label, cell, artifact


def save(results: Results, pictures: Mapping[str, Picture], path: Path) -> None:
    """Images, explanations and what is known of them, for each data set and model with its first seed and draw."""
    tensors: dict[str, NDArray[Any]] = {}
    about: dict[str, dict[str, Any]] = {}
    for name, label, cell, artifact in first_explanations(results):
        index, targets = artifact.tensors["index"].numpy(), artifact.tensors["targets"].numpy()
        labels, predicted, probability = (part[index] for part in results.prediction(cell.training))
        chosen = {key: picture.rows(index, labels, predicted) for key, picture in pictures.items()}
        rows = sorted({row for part in chosen.values() for row in part})
        if not rows:
            continue
        tensors |= _content(f"{name}/{label}", artifact.tensors, rows)
        if name not in about:
            dataset = cell.dataset.component
            tensors[f"{name}/images"] = arrays_of(dataset).test.images.numpy()[index[rows]].astype(np.float16)
            about[name] = {
                "index": index[rows].tolist(),
                "targets": targets[rows].tolist(),
                "labels": labels[rows].tolist(),
                "predicted": predicted[rows].tolist(),
                "probability": [round(float(value), 4) for value in probability[rows]],
                "classes": list(dataset.classes),
                "explainers": {},
                "pictures": {key: asdict(pictures[key]) | {"rows": [rows.index(row) for row in part]} for key, part in chosen.items()},
            }
        about[name]["explainers"][label] = cell.explainer.name
    if tensors:
        save_arrays(tensors, path, about)


def draw(path: Path, without: set[str]) -> None:
    """Draw all pictures beside their data, bar some."""
    with safetensors.safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["about"])
        for name, content in about.items():
            arrays = {label: _read(file, f"{name}/{label}") for label in ("images", *sorted(content["explainers"]))}
            stored = set(file.keys())
            flags = {label: file.get_tensor(key) for label in content["explainers"] if (key := f"{name}/{label}/{FLAG}") in stored}
            suffix = f"-{name}" if len(about) > 1 else ""
            for key, fields in content["pictures"].items():
                rows = fields.pop("rows")
                if rows and key not in without:
                    _draw(Picture(**fields), content, arrays, flags, rows, path.parent / f"{key}{suffix}.png")


def _draw(
    picture: Picture, content: dict[str, Any], arrays: dict[str, NDArray[Any]], flags: dict[str, NDArray[Any]], rows: list[int], path: Path
) -> None:
    images = arrays["images"][rows]
    wanted = {label: arrays[label][rows] for label, name in content["explainers"].items() if _wanted(picture, label, name)}
    if picture.figure == "counterfactuals":
        for label in (label for label in wanted if label in flags):
            file = path.with_name(f"{path.stem}-{file_name(label)}.png")
            _draw_counterfactuals(picture, content, images, wanted[label], flags[label][rows], rows, label, file)
        return
    classes, labels, shown = content["classes"], _labels(content, rows), {label: wanted[label] for label in wanted if label not in flags}
    targets, predicted = [content["targets"][row] for row in rows], [content["predicted"][row] for row in rows]
    own = [row.index(guess) if guess in row else 0 for row, guess in zip(targets, predicted, strict=True)]
    single = {label: values[np.arange(len(rows)), own] for label, values in shown.items()}
    if picture.figure == "maps" and (single or not flags):
        maps.grid(images, single, labels, path)
    for label in shown if picture.figure != "maps" else ():
        file = path.with_name(f"{path.stem}-{file_name(label)}.png")
        if picture.figure == "signed_parts":
            signed_parts(images, single[label].sum(axis=1), labels, file)
        elif len(targets[0]) > 1:
            names = [classes[target] for target in targets[0]]
            maps.all_classes(images, shown[label].sum(axis=2), names, labels, file, predicted=own, scale=picture.scale)


def _draw_counterfactuals(
    picture: Picture,
    content: dict[str, Any],
    images: NDArray[Any],
    proposals: NDArray[Any],
    flags: NDArray[Any],
    rows: list[int],
    label: str,
    path: Path,
) -> None:
    """A column for each class that is a target or is predicted."""
    targets, predicted = np.array([content["targets"][row] for row in rows]), np.array([content["predicted"][row] for row in rows])
    classes, places = np.unique(np.concatenate([targets.ravel(), predicted]), return_inverse=True)
    columns, guesses = places[: targets.size].reshape(targets.shape), places[targets.size :]
    lines = np.arange(len(rows))[:, None]
    wide = np.zeros((len(rows), len(classes), *images.shape[1:]), dtype=np.float32)
    found, asked = np.zeros(wide.shape[:2], dtype=bool), np.zeros(wide.shape[:2], dtype=bool)
    wide[lines, columns], found[lines, columns] = proposals, flags == 0
    asked[lines, columns] = flags != FLAGS.index("not asked for")
    names, labels = [content["classes"][number] for number in classes], _labels(content, rows)
    counterfactuals(images, wide, found, asked, guesses.tolist(), names, labels, label, path, picture.color)


def _labels(content: dict[str, Any], rows: list[int]) -> list[str]:
    """For each image its position, true class, predicted class and its probability."""
    told = [[content[name][row] for name in ("index", "labels", "predicted", "probability")] for row in rows]
    classes = content["classes"]
    return [f"#{index} {classes[label]}\n→ {classes[guess]} {share:.3f}" for index, label, guess, share in told]


def _content(key: str, tensors: Mapping[str, Tensor], rows: list[int]) -> dict[str, NDArray[Any]]:
    """What is saved of an explanation: its maps, or its counterfactuals as bytes with their flags."""
    if "found" not in tensors:
        return {key: tensors["values"].numpy()[rows]}
    images = (255 * tensors["images"][rows].nan_to_num().clamp(0, 1)).round().to(torch.uint8)
    return {key: images.numpy(), f"{key}/{FLAG}": tensors["flag"].numpy()[rows]}


def _read(file: Any, key: str) -> NDArray[Any]:
    """A saved array, float32; images as bytes are brought back to [0, 1]."""
    found = file.get_tensor(key)
    return found.astype(np.float32) / (255 if found.dtype == np.uint8 else 1)


def file_name(label: str) -> str:
    """A label as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", label).strip("-")


def _wanted(picture: Picture, label: str, name: str) -> bool:
    return picture.explainers is None or name in picture.explainers or label in picture.explainers
