"""How `xaibench bench` writes its tables: rounded, in Markdown, with what the numbers mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from xaibench import markdown as md
from xaibench.tables.aggregate import save

CAPTIONS = {
    "throughput": "The classifier alone at its best chunk and memory format, and what share the fixed rule reaches (timed in turns).",
    "explainers": (
        "Each explainer and the classifier alone are timed in turns. The limit is the time of the method's passes at the classifier's best "
        "throughput; the ratio is the limit's time over the method's: median of the turns, lowest to highest. Images per second drift on "
        "shared machines, ratios less. Above 1 a method saves part of a pass, such as the way back below a layer, or the machine was busy. "
        "Memory: the peak beyond what was in use before."
    ),
    "metrics": (
        "Each metric scores the explanations of one explainer; it and the classifier alone are timed in turns. The limit is the time of "
        "the metric's passes, those of explaining again included, at the classifier's best throughput; the ratio is that time over its "
        "own: median of the turns, lowest to highest. Metrics of the map alone have no limit. Memory: the peak beyond what was in use "
        "before."
    ),
    "peers": (
        "Equal settings, same images and classes, timed in turns; time per image is compared, as slow peers get fewer images. Difference: "
        "the largest between the two, relative to the largest value. Errors: root mean square distance from a long run, relative to its "
        "root mean square."
    ),
    "memory": "Peak beyond the interpreter and the inputs, each number of images in a process of its own; and without the results.",
}


SIGNIFICANT = "significant"


@dataclass(frozen=True)
class Column:
    """A column of a rounded table: its head, its field, how a number is written, and whether lowest and highest turn stand beside it."""

    head: str
    field: str
    number: str = ""
    spread: bool = False

    def text(self, row: Mapping[Any, Any]) -> str:
        """The cell."""
        value = row.get(self.field)
        if value is None or pd.isna(value):
            return ""
        if not self.number:
            return str(value)
        fields = (self.field, f"{self.field}_low", f"{self.field}_high") if self.spread else (self.field,)
        texts = [significant(row[name]) if self.number == SIGNIFICANT else format(row[name], self.number) for name in fields]
        return f"{texts[0]} ({texts[1]} to {texts[2]})" if self.spread else texts[0]


SPEED = (
    Column("family", "family"),
    Column("images/s", "images_per_second", SIGNIFICANT),
    Column("forward per image", "forward", SIGNIFICANT),
    Column("backward per image", "backward", SIGNIFICANT),
    Column("limit, images/s", "limit", SIGNIFICANT),
    Column("ratio to the limit", "ratio", ".2f", spread=True),
    Column("memory, MiB", "memory", ",.0f"),
    Column("skipped", "skipped"),
)
"""Of explainers and of metrics."""

COLUMNS = {
    "throughput": (
        Column("direction", "direction"),
        Column("best, images/s", "rate", ",.0f"),
        Column("at chunk", "chunk", "d"),
        Column("format", "layout"),
        Column("chunk of the rule", "ruled_chunk", "d"),
        Column("its share of the best", "ruled_share", ".2f"),
    ),
    "explainers": (Column("explainer", "explainer"), *SPEED),
    "metrics": (Column("metric", "metric"), *SPEED),
    "peers": (
        Column("explainer", "explainer"),
        Column("metric", "metric"),
        Column("peer", "peer"),
        Column("ours, ms/image", "our_milliseconds", SIGNIFICANT),
        Column("peer, ms/image", "peer_milliseconds", SIGNIFICANT),
        Column("times faster", "times_faster", SIGNIFICANT, spread=True),
        Column("ours, limits", "our_limits", ".2f"),
        Column("peer, limits", "peer_limits", ".2f"),
        Column("difference", "difference", ".1e"),
        Column("our error", "our_error", ".3f"),
        Column("its error", "peer_error", ".3f"),
        Column("why they differ", "differs"),
        Column("skipped", "skipped"),
    ),
    "memory": (
        Column("explainer", "explainer"),
        Column("metric", "metric"),
        Column("images", "images", ",d"),
        Column("memory, MiB", "memory", ",.0f"),
        Column("results, MiB", "results", ",.0f"),
        Column("without results, MiB", "without_results", ",.0f"),
        Column("skipped", "skipped"),
    ),
}
"""Of the rounded tables."""

SIZE = (
    Column("images", "images", ".0f"),
    Column("forward per image", "forward", SIGNIFICANT),
    Column("backward per image", "backward", SIGNIFICANT),
    Column("seconds per image", "seconds", SIGNIFICANT),
    Column("ratio to the limit", "ratio", ".2f"),
    Column("memory, MiB", "memory", ",.0f"),
    Column("usual passes per image", "usual", SIGNIFICANT),
    Column("fields lowered", "reduced"),
    Column("skipped", "skipped"),
)
"""Of explainers and of metrics on large images."""

SIZE_COLUMNS = {
    "throughput": (
        Column("direction", "direction"),
        Column("best, images/s", "rate", SIGNIFICANT),
        *COLUMNS["throughput"][2:],
        Column("memory of the rule's chunk, MiB", "memory", ",.0f"),
    ),
    "explainers": (Column("explainer", "name"), Column("family", "family"), *SIZE),
    "metrics": (Column("metric", "name"), Column("family", "family"), *SIZE),
}

NUMBERS = (
    "As many images as fit into the passes. Where the usual passes of one image are more, whole numbers among the fields are halved, "
    "pixels joined to squares, and strides doubled, until they fit: the fields lowered. The ratio is the time of the passes at the "
    "classifier's best throughput, measured before and after the method, over the method's. Memory: the peak beyond what "
    "was in use before."
)
SIZE_CAPTIONS = {
    "throughput": "The classifier alone at its best chunk and memory format, and what share the fixed rule reaches.",
    "explainers": f"Each explainer in bounded memory. {NUMBERS}",
    "metrics": f"Each metric in bounded memory, on the explanations of one explainer. {NUMBERS}",
}


def significant(value: float) -> str:
    """Three significant digits, more before the decimal point, and no exponent."""
    digits = 0 if abs(value) >= 100 or value == round(value) else 2 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(digits, 0)}f}"


def publish(table: pd.DataFrame, text: str, path: Path, console: Console) -> None:
    """Write a table as `path` with .csv, and with .md the text that shows it, and print that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save(table, text, path)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {path.parent}", highlight=False)


def markdown(
    tables: dict[str, pd.DataFrame],
    provenance: dict[str, Any],
    shown: Mapping[str, tuple[Column, ...]] = COLUMNS,
    captions: Mapping[str, str] = CAPTIONS,
) -> str:
    """A section for each table and network; columns without content are left out."""
    versions = ", ".join(f"{name} {provenance['versions'][name]}" for name in ("torch", "captum", "shap"))
    lines = [f"{provenance['hardware']}; {provenance['threads']} threads; {versions}; commit {provenance['commit']}.", ""]
    for name, table in tables.items():
        for (dataset, model), part in table.groupby(["dataset", "model"], sort=False):
            lines += [f"## {name.capitalize()}: {model} on {dataset}", "", captions[name], ""]
            columns = [column for column in shown[name] if column.field in part and not part[column.field].isna().all()]
            rows = ([column.text(row) for column in columns] for row in part.to_dict("records"))
            align = "".join("r" if column.number else "l" for column in columns)
            lines += [*md.table([column.head for column in columns], rows, align), ""]
    return "\n".join(lines)
