"""Classifiers for the page: accuracy, precision and recall of each class, and the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaibench import classifiers
from xaibench.report.study import Study

Rows = list[list[str]]


@dataclass(frozen=True)
class Report:
    """One classifier on the test set, over its seeds.

    Attributes
    ----------
    title
        ``dataset / model``.
    rows
        Class, precision, recall, F1 (means over seeds) and support, as text.
    classes, counts
        Names, and (K, K) test images of a true class (rows) by predicted class, as a share of the row in percent, summed over seeds.
    """

    title: str
    rows: Rows
    classes: list[str]
    counts: list[list[int]]


def accuracies(study: Study) -> tuple[list[str], Rows]:
    """Heads and rows of the table of classifiers."""
    table = study.csv("classifiers")
    if table.empty:
        return [], []
    heads = classifiers.HEADS if table["reference"].notna().any() else classifiers.HEADS[:-2]
    return heads, [classifiers.cells(row)[: len(heads)] for row in table.to_dict("records")]


def reports(study: Study) -> list[Report]:
    """For each classifier what ``report.csv`` and ``confusion.csv`` hold."""
    table, confusion = study.csv("report"), study.csv("confusion")
    if table.empty and confusion.empty:
        return []
    found = []
    for dataset, model in _pairs([table, confusion]):
        parts = [part if part.empty else part[(part["dataset"] == dataset) & (part["model"] == model)] for part in (table, confusion)]
        found.append(Report(f"{dataset} / {model}", _rows(parts[0]), *_shares(parts[1])))
    return found


def _pairs(tables: list[pd.DataFrame]) -> list[tuple[str, str]]:
    pairs = [table[["dataset", "model"]].itertuples(index=False, name=None) for table in tables if not table.empty]
    return sorted({pair for part in pairs for pair in part})


def _rows(table: pd.DataFrame) -> Rows:
    if table.empty:
        return []
    means = table.groupby("class", sort=False)[["precision", "recall", "f1", "support"]].mean()
    return [
        [str(name), *(f"{row[column]:.3f}" for column in ("precision", "recall", "f1")), f"{row['support']:,.0f}"]
        for name, row in means.iterrows()
    ]


def _shares(table: pd.DataFrame) -> tuple[list[str], list[list[int]]]:
    if table.empty:
        return [], []
    names = list(dict.fromkeys(table["label"]))
    counts = table.groupby(["label", "predicted"], sort=False)["count"].sum().unstack(sort=False).loc[names, names].to_numpy(dtype=float)
    sums = counts.sum(axis=1, keepdims=True)
    shares = 100 * np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    return names, np.rint(shares).astype(int).tolist()
