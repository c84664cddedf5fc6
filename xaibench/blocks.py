"""The layout that Markdown, LaTeX and terminal tables share: which explainers, metrics, marks and notes stand where."""

from __future__ import annotations

import math
import re
import string
from dataclasses import dataclass
from typing import Any

import pandas as pd

from xaibench.stats import ONE_IMAGE, ONE_SEED, TWO_SEEDS

VERSION = 1

WIDTH = 6
"""Metrics side by side in one block: what fits across a page."""

SENTENCES = {
    ONE_SEED: "one seed: the interval holds for this classifier only",
    TWO_SEEDS: "two seeds: the interval rests on a single difference between classifiers",
    ONE_IMAGE: "fewer than two images: the interval, if any, holds for these images only",
}

NUMBER = re.compile(r"((?:(?<==)-)?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


@dataclass(frozen=True)
class Cell:
    """One score in a table: mean and half-width as text, whether it is the best of its column, and the marks of its notes."""

    mean: str
    half: str
    exponent: int
    best: bool
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One explainer's scores; None where it has none."""

    explainer: str
    control: bool
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Block:
    """Explainers x metrics for one trained classifier.

    Attributes
    ----------
    title
        (dataset, model), and the trainer if several occur.
    metrics
        Column heads: label, and arrow towards better scores ("" where the score has no direction).
    rows
        Explainers in natural order, controls last.
    general
        Notes that hold for every cell.
    notes
        (mark, sentence) of notes on single cells.
    """

    title: tuple[str, ...]
    metrics: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    general: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]


def natural(label: str) -> tuple[tuple[str | float, ...], str]:
    """Sort key of a label that takes the numbers in it as numbers: ``steps=5`` comes before ``steps=50``."""
    parts = NUMBER.split(label)
    return tuple(float(part) if position % 2 else part for position, part in enumerate(parts)), label


def blocks(aggregated: pd.DataFrame, score: str = "value", width: int | None = WIDTH) -> list[Block]:
    """The tables of one score, for each (dataset, model, trainer), with at most `width` metrics (None: all) side by side.

    The best mean of each column among the explainers that are not controls is marked, to the ten digits that ``table.csv`` holds; ties
    are all marked. Direction belongs to a metric's headline: other scores than "value" have neither arrow nor best.
    """
    chosen = aggregated[aggregated["score"] == score]
    if chosen.empty:
        raise ValueError(f"score={score!r}: expected one of {', '.join(sorted(set(aggregated['score'])))}")
    keys = ["dataset", "model", "trainer"] if chosen["trainer"].nunique() > 1 else ["dataset", "model"]
    groups = {tuple(map(str, title)): group for title, group in chosen.groupby(keys, sort=False)}
    made = []
    for title in sorted(groups, key=lambda names: [natural(name) for name in names]):
        group = groups[title]
        families = dict(zip(group["metric"], group["metric_family"], strict=True))
        metrics = sorted(families, key=lambda metric: (families[metric], natural(metric)))
        step = width or len(metrics)
        made += [_block(title, group, metrics[start : start + step], score == "value") for start in range(0, len(metrics), step)]
    return made


def number(mean: float, half: float) -> tuple[str, str, int]:
    """Mean and half-width with two significant digits of the half-width, and the power of ten to multiply both by (0: none)."""
    if math.isnan(mean):
        return "–", "", 0
    scale = half if half > 0 else abs(mean) / 100
    digits = 1 - math.floor(math.log10(scale)) if scale > 0 else 0
    size = max(abs(mean), 0.0 if math.isnan(half) else half)
    exponent = math.floor(math.log10(size)) if digits > 6 or size >= 1e6 else 0
    decimals = min(max(digits + exponent, 0), 6)
    texts = [f"{value / 10.0**exponent:.{decimals}f}" for value in (mean, half)]
    return re.sub(r"^-(0\.?0*)$", r"\1", texts[0]), "" if math.isnan(half) else texts[1] if half > 0 else "0", exponent


def plain(cell: Cell | None) -> str:
    """A cell as text: ``0.123 ± 0.045 (a)``."""
    if cell is None:
        return ""
    text = f"{cell.mean} ± {cell.half}" if cell.half else cell.mean
    text = f"({text})e{cell.exponent}" if cell.exponent else text
    return f"{text} ({','.join(cell.marks)})" if cell.marks else text


def _block(title: tuple[str, ...], group: pd.DataFrame, metrics: list[str], headline: bool) -> Block:
    records: list[dict[Any, Any]] = group[group["metric"].isin(metrics)].to_dict("records")
    scores = {(row["explainer"], row["metric"]): row for row in records}
    controls = {row["explainer"]: row["family"] == "control" for row in records}
    explainers = sorted(controls, key=lambda explainer: (controls[explainer], natural(explainer)))
    directions = {row["metric"]: row["higher_is_better"] if headline else None for row in records}
    best = {metric: _best([row for row in records if row["metric"] == metric], directions[metric]) for metric in metrics}
    remarks = {place: _remarks(scores[place]) for place in ((name, metric) for name in explainers for metric in metrics) if place in scores}
    general = [text for text in next(iter(remarks.values())) if all(text in texts for texts in remarks.values())]
    special = list(dict.fromkeys(text for texts in remarks.values() for text in texts if text not in general))
    marks = {text: _mark(position) for position, text in enumerate(special)}

    def cell(explainer: str, metric: str) -> Cell | None:
        row = scores.get((explainer, metric))
        if row is None:
            return None
        winner = not controls[explainer] and _rounded(row["mean"]) == best[metric]
        own = tuple(marks[text] for text in remarks[explainer, metric] if text in marks)
        return Cell(*number(row["mean"], (row["high"] - row["low"]) / 2), winner, own)

    return Block(
        title,
        tuple((metric, {True: "↑", False: "↓", None: ""}[directions[metric]]) for metric in metrics),
        tuple(Row(explainer, controls[explainer], tuple(cell(explainer, metric) for metric in metrics)) for explainer in explainers),
        tuple(general),
        tuple((mark, text) for text, mark in marks.items()),
    )


def _best(records: list[dict[Any, Any]], higher_is_better: bool | None) -> float | None:
    rivals = [_rounded(row["mean"]) for row in records if row["family"] != "control" and not math.isnan(row["mean"])]
    if higher_is_better is None or not rivals:
        return None
    return max(rivals) if higher_is_better else min(rivals)


def _rounded(value: float) -> float:
    return float(f"{value:.10g}")


def _remarks(row: dict[Any, Any]) -> list[str]:
    """The sentences that a row of the aggregated table calls for."""
    found = [SENTENCES.get(part, part) for part in row["note"].split("; ") if part]
    if row["undefined"]:
        found.append(f"undefined (image, seed) pairs: {row['undefined']}; their images are left out, {row['images']} remain")
    return found


def _mark(position: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    letters = string.ascii_lowercase
    return letters[position] if position < len(letters) else _mark(position // len(letters) - 1) + letters[position % len(letters)]
