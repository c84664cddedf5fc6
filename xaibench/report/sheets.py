"""Further tables of a study's folder, and its claims, as text for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xaibench.claims.page import number
from xaibench.report.study import VERDICTS, Study

TABLES = {
    "metric_quality": "Quality of the metrics: what they make of degraded explanations",
    "operator_agreement": "Agreement of a metric with itself under other removal operators",
    "influence": "The pixels with the most and the least influence",
    "influence_agreement": "Agreement of explainers with the influence of pixels",
    "by_class": "Scores by class",
    "metric_agreement": "Agreement of metrics: Kendall's W and Krippendorff's alpha",
    "stability": "Stability of the order: half of the images against the other half, one seed against the others",
    "skipped": "What was not computed, and why",
}
"""Tables that are shown where they are in the folder, with their titles."""

MOST = 400
"""Rows of a table that are shown."""


@dataclass(frozen=True)
class Sheet:
    """A table of the page.

    Attributes
    ----------
    title, file
        Its heading, and where it comes from.
    heads
        Names of the columns.
    numeric
        Which columns hold numbers.
    rows
        Text and, in numeric columns, the number to sort by ("" where there is none).
    left_out
        Rows that are only in the file.
    """

    title: str
    file: str
    heads: list[str]
    numeric: list[bool]
    rows: list[list[tuple[str, str]]]
    left_out: int


@dataclass(frozen=True)
class Claim:
    """A checked claim: texts, and the verdict ``holds``, ``does not hold``, ``undecided`` or, where nothing is expected, empty."""

    where: str
    claim: str
    value: str
    interval: str
    expected: str
    verdict: str
    images: str
    seeds: str
    note: str


def sheets(study: Study) -> list[Sheet]:
    """The further tables that are there."""
    found = []
    for stem, title in TABLES.items():
        table = study.csv(stem)
        if stem == "metric_agreement" and not table.empty:
            table = table[table["kind"] != "spearman"].drop(columns="second")  # the correlations are a chart
        if not table.empty:
            numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table]
            rows = [[_shown(value) for value in row] for row in table.head(MOST).itertuples(index=False, name=None)]
            heads = [str(name).replace("_", " ") for name in table]
            found.append(Sheet(title, f"{stem}.csv", heads, numeric, rows, max(0, len(table) - MOST)))
    return found


def claims(study: Study) -> dict[str, list[Claim]]:
    """Checked claims by topic, in the study's order."""
    table = study.csv("claims")
    found: dict[str, list[Claim]] = {}
    names = [name for name in ("dataset", "model", "explainer") if not table.empty and (name == "explainer" or table[name].nunique() > 1)]
    for row in table.to_dict("records"):
        holds = VERDICTS.get(row["holds"])
        verdict = {True: "holds", False: "does not hold", None: "undecided" if row["expected"] else ""}[holds]
        low, high = number(row["low"]), number(row["high"])
        where = ", ".join(filter(None, (str(row[name]) for name in names)))
        counts = ["" if pd.isna(row[name]) else f"{row[name]:,.0f}" for name in ("images", "seeds")]
        interval = f"{low} to {high}" if low and high else ""
        texts = [where, row["claim"], number(row["value"]), interval, row["expected"], verdict, *counts, row["note"]]
        found.setdefault(row["topic"], []).append(Claim(*texts))
    return found


def provenance(study: Study) -> list[tuple[str, str]]:
    """What the numbers were computed with, as (name, value)."""
    found: list[tuple[str, str]] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and all(isinstance(inner, str) for inner in value.values()):
            found.append((prefix.replace("_", " "), ", ".join(f"{name} {inner}" for name, inner in value.items())))
        elif isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{prefix}, {name}" if prefix else str(name), inner)
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            found.append((prefix.replace("_", " "), text))

    walk("", study.provenance)
    return found


def _shown(value: Any) -> tuple[str, str]:
    if isinstance(value, str):
        return value, ""
    if value is None or not np.isfinite(value):
        return ("" if value is None or np.isnan(value) else "∞", "")
    return (f"{value:,}" if isinstance(value, int | np.integer) else f"{value:.4g}"), repr(float(value))
