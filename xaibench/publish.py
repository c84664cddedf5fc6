"""A study's folder: its data from the store, and from these data alone its tables and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy

from xaibench.classifiers import accuracy, confusion, history, reports
from xaibench.figures import classifier, curves, maps
from xaibench.longtable import Results
from xaibench.stages import arrays_of, environment, explain_key
from xaibench.tables import aggregate, write

SCORES, CURVES, MAPS, HISTORY, CONFUSION = "scores.parquet", "curves.parquet", "maps.safetensors", "history.csv", "confusion.csv"
MOST_IMAGES = 10


def publish(results: Results, folder: Path, figures: tuple[str, ...], reference: dict[str, Any]) -> None:
    """Write a study's data, then its tables and figures.

    Parameters
    ----------
    results
        What the store holds of the study's grid.
    folder
        ``results/<study>``.
    figures
        Any of ``curves``, ``maps``, ``all_classes``, ``learning_curves``, ``confusion_matrix``.
    reference
        Published accuracies, by model and dataset, to stand beside ours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scores = results.scores()
    if len(scores):
        scores.to_parquet(folder / SCORES, index=False)
        results.costs().to_csv(folder / "cost.csv", index=False, float_format="%.4g")
        results.curves().to_parquet(folder / CURVES, index=False)
    if {"maps", "all_classes"} & set(figures):
        _save_maps(results, folder / MAPS)
    accuracy(results, reference).to_csv(folder / "classifiers.csv", index=False, float_format="%.6g")
    if {"learning_curves", "confusion_matrix"} & set(figures):
        history(results).to_csv(folder / HISTORY, index=False, float_format="%.6g")
        confusion(results).to_csv(folder / CONFUSION, index=False)
        reports(results).to_csv(folder / "report.csv", index=False, float_format="%.6g")
    (folder / "provenance.json").write_text(json.dumps(_provenance(results), indent=1))
    draw(folder, figures)


def draw(folder: Path, figures: tuple[str, ...]) -> None:
    """Write tables and figures from a study's data: no store, no training, no data set."""
    if (folder / SCORES).exists():
        write(aggregate(pd.read_parquet(folder / SCORES)), folder)
    if "curves" in figures and (folder / CURVES).exists():
        found = pd.read_parquet(folder / CURVES)
        if len(found):
            curves.curves(found, folder / "curves.png")
    if (folder / MAPS).exists():
        for name, content in _load_maps(folder / MAPS).items():
            _draw_maps(folder, name, content, figures)
    if "learning_curves" in figures:
        for name, part in _by_classifier(pd.read_csv(folder / HISTORY)):
            classifier.learning_curves(part, folder / f"learning_curves{name}.png")
    if "confusion_matrix" in figures:
        for name, part in _by_classifier(pd.read_csv(folder / CONFUSION, dtype={"label": str, "predicted": str}, keep_default_na=False)):
            counts = part.groupby(["label", "predicted"], sort=False)["count"].sum().unstack(sort=False)
            names = list(dict.fromkeys(part["label"]))
            classifier.confusion_matrix(counts.loc[names, names].to_numpy(), names, folder / f"confusion_matrix{name}.png")


def _by_classifier(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Parts of one (dataset, model), with a suffix for file names where there are several."""
    groups = list(frame.groupby(["dataset", "model"], sort=True))
    return [("" if len(groups) == 1 else f"-{dataset}-{model}", part) for (dataset, model), part in groups]


def _save_maps(results: Results, path: Path) -> None:
    """The explanations of up to ten images with the first seed and draw, each data set and model by itself, in half precision."""
    tensors: dict[str, Any] = {}
    about: dict[str, Any] = {}
    firsts: dict[str, tuple[int, int]] = {}
    for cell, _ in results.found:
        facts = results.facts(cell)
        name = f"{facts['dataset']}-{facts['model']}"
        if firsts.setdefault(name, (cell.seed, cell.draw)) != (cell.seed, cell.draw) or f"{name}/{facts['explainer']}" in tensors:
            continue
        artifact = results.store.read("explain", explain_key(cell.explaining)[0])
        predicted = results.prediction(cell.training)
        if artifact is None:
            continue
        index, classes = artifact.tensors["index"].numpy(), cell.dataset.component.classes
        labels = predicted[0][index]
        rows = _first_of_each(labels)
        tensors[f"{name}/{facts['explainer']}"] = artifact.tensors["values"].numpy()[rows].astype(np.float16)
        if name not in about:
            images = arrays_of(cell.dataset.component).test.images.numpy()[index[rows]]
            tensors[f"{name}/images"] = images.astype(np.float16)
            chosen, probability = predicted[1][index[rows]], predicted[2][index[rows]]
            about[name] = {
                "index": index[rows].tolist(),
                "targets": artifact.tensors["targets"].numpy()[rows].tolist(),
                "labels": labels[rows].tolist(),
                "predicted": chosen.tolist(),
                "probability": [round(float(value), 4) for value in probability],
                "classes": list(classes),
            }
    if tensors:
        safetensors.numpy.save_file(tensors, path, metadata={"about": json.dumps(about, sort_keys=True)})


def _first_of_each(labels: np.ndarray) -> np.ndarray:
    """Positions of up to ten images: the first of each class, then the next ones."""
    _, first = np.unique(labels, return_index=True)
    rest = np.setdiff1d(np.arange(len(labels)), first)
    return np.sort(np.concatenate([first, rest])[:MOST_IMAGES])


def _load_maps(path: Path) -> dict[str, dict[str, Any]]:
    """For each data set and model its images, maps by explainer, and what is known of the images."""
    with safetensors.safe_open(path, framework="numpy") as file:
        content = json.loads(file.metadata()["about"])
        for key in file.keys():  # noqa: SIM118 - not a dictionary
            name, _, kind = key.partition("/")
            content[name].setdefault("arrays", {})[kind] = file.get_tensor(key).astype(np.float32)
    return content


def _draw_maps(folder: Path, name: str, content: dict[str, Any], figures: tuple[str, ...]) -> None:
    arrays, classes, targets = dict(content["arrays"]), content["classes"], content["targets"]
    images = arrays.pop("images")
    several = len(targets[0]) > 1
    told = zip(content["index"], content["labels"], content["predicted"], content["probability"], strict=True)
    labels = [f"#{index} {classes[label]}\n→ {classes[guess]} {share:.2f}" for index, label, guess, share in told]
    if "maps" in figures:
        chosen = [row.index(guess) if guess in row else 0 for row, guess in zip(targets, content["predicted"], strict=True)]
        single = {label: values[np.arange(len(values)), chosen] for label, values in arrays.items()}
        maps.grid(images, single, labels, folder / f"maps-{name}.png")
    if "all_classes" in figures and several:
        names = [classes[target] for target in targets[0]]
        guesses = [targets[0].index(guess) for guess in content["predicted"]]
        for label, values in arrays.items():
            maps.all_classes(images, values.sum(axis=2), names, labels, folder / f"all_classes-{name}-{label}.png", predicted=guesses)


def _provenance(results: Results) -> dict[str, Any]:
    """What the numbers come from: the code that wrote this folder, the commits and machines that computed its cells, and the seeds."""
    import torch

    spent = [artifact.provenance for _, artifact in results.found] or [trained.provenance for _, _, trained, _ in results.classifiers()]
    return {
        "written_by": environment(torch.device("cpu")),
        "computed_by_commits": sorted({str(item.get("commit")) for item in spent}),
        "computed_on": sorted({str(item.get("hardware")) for item in spent}),
        "computed_with_threads": sorted({int(item.get("threads", 0)) for item in spent}),
        "seeds": list(results.grid.seeds),
        "draws": list(results.grid.draws),
        "cells": len(results.found),
    }
