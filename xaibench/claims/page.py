"""Claims as Markdown and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from xaibench import markdown as md

if TYPE_CHECKING:
    from rich.table import Table

HEADS = ("claim", "value", "95 % interval", "expected", "holds", "images", "seeds", "note")
NAMES = ("dataset", "model", "explainer")


def to_markdown(claims: pd.DataFrame) -> str:
    """One table for each topic. Names of data set, model and explainer stand in the rows where they vary."""
    decides = "The value's 95 % interval decides whether a claim holds: yes if all of it is as expected, no if none of it is."
    lines = [f"{decides} Where a p is told, it must find a difference too (Wilcoxon's signed rank test, Holm over all pairs, 5 %).", ""]
    for topic, heads, rows in _tables(claims):
        align = "".join("r" if head in ("value", "95 % interval", "images", "seeds") else "l" for head in heads)
        texts = ([text.replace("|", r"\|").replace("<", "&lt;") for text in row] for row in rows)
        lines += [f"**{topic}**", "", *md.table(heads, texts, align), ""]
    return "\n".join(lines)


def to_rich(claims: pd.DataFrame) -> Table:
    """The same for the terminal."""
    from rich.table import Table
    from rich.text import Text

    colors = {"yes": "green", "no": "red"}
    page = Table.grid()
    for topic, heads, rows in _tables(claims):
        table = Table(title=Text(topic), title_justify="left")
        for head in heads:
            table.add_column(head, overflow="fold", justify="right" if head == "value" else "left")
        for row in rows:
            table.add_row(*(Text(text, style=colors.get(text, "")) for text in row))
        page.add_row(table)
    return page


def number(value: float) -> str:
    """Three significant digits; an empty text for NaN."""
    if math.isnan(value):
        return ""
    return f"{value:.3g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def _tables(claims: pd.DataFrame) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Topic, heads and rows."""
    several = [name for name in ("dataset", "model") if claims[name].nunique() > 1]
    for topic, part in claims.groupby("topic", sort=False):
        shown = [name for name in NAMES if name in several or (name == "explainer" and (part["explainer"] != "").any())]
        rows = [[*(str(row[name]) for name in shown), *_cells(row)] for _, row in part.iterrows()]
        yield str(topic), [*shown, *HEADS], rows


def _cells(row: pd.Series) -> list[str]:
    low, high = number(row["low"]), number(row["high"])
    interval = f"{low} to {high}" if low and high else ""
    verdict = "yes" if row["holds"] is True else "no" if row["holds"] is False else "undecided" if row["expected"] else ""
    return [row["claim"], number(row["value"]), interval, row["expected"], verdict, str(row["images"]), str(row["seeds"]), row["note"]]
