"""What a grid's classifiers are worth: accuracy, classification reports, confusion, learning curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from xaibench import markdown as md
from xaibench.claims.base import judged
from xaibench.problem import Training
from xaibench.stats.intervals import crossed_interval
from xaibench.tables.longtable import Results

KEYS = ["dataset", "model", "trainer"]
HEADS = ["dataset", "model", "parameters", "seeds", "test accuracy, %", "95 % interval", "lowest and highest seed"]
HEADS += ["validation", "reference", "reached"]
VERDICTS = {True: "yes", False: "no", None: "undecided"}


def accuracy(results: Results, reference: dict[str, Any]) -> pd.DataFrame:
    """Test accuracy of each (dataset, model, trainer) with its 95 % interval (images crossed with seeds), beside the published one.

    `reached` says whether all, part or none of the interval reaches that: yes, undecided or no.
    """
    rows = []
    for names, right, parameters, validation in _grouped(results):
        found = crossed_interval(np.stack(right, axis=1))
        given = reference.get(names["model"], {}).get(names["dataset"])
        rows.append(
            names
            | {"parameters": parameters, "seeds": found.seeds, "images": int(found.images)}
            | {"accuracy": float(found.mean), "low": max(0.0, float(found.low)), "high": min(1.0, float(found.high))}
            | {"lowest_seed": float(np.mean(right, axis=1).min()), "highest_seed": float(np.mean(right, axis=1).max())}
            | {"validation_accuracy": float(np.mean(validation)), "reference": given, "note": found.note}
        )
        rows[-1]["reached"] = "" if given is None else VERDICTS[judged(rows[-1]["low"], rows[-1]["high"], ">=", given)]
    return pd.DataFrame(rows)


def percent(value: Any) -> str:
    """A share, if there is one."""
    return "" if pd.isna(value) else f"{100 * float(value):.2f}"


def cells(row: Mapping[Any, Any]) -> list[str]:
    """The texts of `HEADS`, of a row of ``classifiers.csv``."""
    spans = [f"{percent(row[low])} to {percent(row[high])}" for low, high in (("low", "high"), ("lowest_seed", "highest_seed"))]
    known = [row["dataset"], row["model"], f"{row['parameters']:,}", str(row["seeds"]), percent(row["accuracy"]), *spans]
    reached = row.get("reached")
    return [*known, percent(row["validation_accuracy"]), percent(row.get("reference")), "" if pd.isna(reached) else str(reached)]


def markdown(table: pd.DataFrame) -> str:
    """Accuracies in percent."""
    caption = "Test accuracy with its 95 % interval (images crossed with seeds), in percent."
    lines = [f"{caption} Reached: yes if all of the interval is, no if none of it is.", ""]
    return "\n".join([*lines, *md.table(HEADS, map(cells, table.to_dict("records")), "llrrrrrrrl"), ""])


def given(results: Results) -> list[tuple[str, bool]]:
    """What each classifier with given weights is worth on the test set, and whether it knows nothing: no more than the largest class."""
    told = []
    for names, training, _, predicted in results.classifiers():
        if training.model.fixed:
            labels = predicted.tensors["labels"]
            accuracy = float((predicted.tensors["logits"].argmax(1) == labels).double().mean())
            share = int(labels.bincount().max()) / len(labels)
            text = f"{names['model']} on {names['dataset']}: {accuracy:.1%} of {len(labels)} test images are classified right"
            told.append((f"{text}; the largest class has {share:.1%}", accuracy <= share < 1))
    return told


def confusion(results: Results) -> pd.DataFrame:
    """Counts of (true class, predicted class) for each classifier, by name."""
    from sklearn.metrics import confusion_matrix

    rows = []
    for names, training, _, predicted in results.classifiers():
        classes = training.dataset.classes
        labels, guesses = predicted.tensors["labels"].numpy(), predicted.tensors["logits"].argmax(1).numpy()
        counts = confusion_matrix(labels, guesses, labels=range(len(classes)))
        rows += [
            {**names, "label": classes[label], "predicted": classes[guess], "count": counts[label, guess]}
            for label, guess in np.ndindex(*counts.shape)
        ]
    return pd.DataFrame(rows)


def reports(results: Results) -> pd.DataFrame:
    """Precision, recall and F1 score of each class and averaged over classes, on the test set: one row for each classifier and class."""
    from sklearn.metrics import classification_report

    rows = []
    for names, training, _, predicted in results.classifiers():
        labels, guesses = predicted.tensors["labels"].numpy(), predicted.tensors["logits"].argmax(1).numpy()
        classes = list(training.dataset.classes)
        found = classification_report(
            labels, guesses, labels=range(len(classes)), target_names=classes, output_dict=True, zero_division=np.nan
        )
        found.pop("accuracy", None)
        rows += [{**names, "class": name, **numbers} for name, numbers in found.items()]
    return pd.DataFrame(rows).rename(columns={"f1-score": "f1"})


def history(results: Results) -> pd.DataFrame:
    """Loss and accuracy on training and validation data: one row for each classifier and epoch."""
    frames = [
        pd.DataFrame({name: column.numpy() for name, column in trained.group("history").items()}).assign(**names)
        for names, _, trained, _ in results.classifiers()
    ]
    return pd.concat(frames, ignore_index=True)


def _grouped(results: Results) -> list[tuple[dict[str, Any], list[np.ndarray], int, list[float]]]:
    """For each (dataset, model, trainer): its names, right or wrong for each image with each seed, parameters, validation accuracies."""
    groups: dict[tuple[Any, ...], tuple[dict[str, Any], list[np.ndarray], int, list[float]]] = {}
    for names, training, trained, predicted in results.classifiers():
        right = (predicted.tensors["logits"].argmax(1) == predicted.tensors["labels"]).double().numpy()
        key = tuple(names[name] for name in KEYS)
        shape, classes = training.dataset.shape, len(training.dataset.classes)
        parameters = sum(item.numel() for item in training.model.build(shape, classes).parameters())
        group = groups.setdefault(key, ({name: names[name] for name in KEYS}, [], parameters, []))
        group[1].append(right)
        group[3].append(_validated(training, trained.group("history")))
    return list(groups.values())


def _validated(training: Training, found: dict[str, Tensor]) -> float:
    """Validation accuracy of the weights that were kept; NaN where nothing was trained."""
    if not found:
        return np.nan
    kept = found["validation_loss"].argmin() if training.model.recipe.keep == "best" else -1
    return float(found["validation_accuracy"][kept])
