"""Two results of a study, number by number: what moved beyond its intervals, what appeared or vanished, which versions differ."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xaibench import markdown as md
from xaibench.claims.page import number
from xaibench.component import ConfigurationError
from xaibench.stats.intervals import ROUNDING
from xaibench.tables.aggregate import KEYS
from xaibench.tables.formats import MARKDOWN

if TYPE_CHECKING:
    from rich.table import Table

TOLERANCE = 1e-5
"""Relative difference between the ends of intervals that counts as none: that of thread counts and machines."""

NAMES = ("dataset", "model", "trainer", "explainer", "metric", "score", "topic", "claim")
STATES = ("moved", "vanished", "appeared", "within")
HEADS = ("file", "number", "before", "after", "half-widths", "state", "verdict")

CAPTION = (
    "Moved: the 95 % intervals do not overlap, of errors against an axiom beyond rounding (2e-6). "
    "Half-widths: how far the number went, in half-widths of both intervals together."
)


@dataclass(frozen=True)
class Source:
    """A file with numbers: what names a row, which column is the number, and which the verdict."""

    file: str
    keys: tuple[str, ...]
    value: str
    verdict: str = ""


SOURCES = (
    Source("table.csv", tuple(KEYS), "mean"),
    Source("claims.csv", ("topic", "dataset", "model", "explainer", "claim"), "value", "holds"),
    Source("classifiers.csv", ("dataset", "model", "trainer"), "accuracy", "reached"),
)


def differences(before: Path, after: Path) -> pd.DataFrame:
    """All numbers of two folders, the largest moves first.

    Parameters
    ----------
    before, after
        Folders of studies with ``table.csv``, ``claims.csv`` or ``classifiers.csv``.

    Returns
    -------
    DataFrame
        `file`, the names of the number (empty where they do not apply), `before`, `after` and the ends of their intervals; `size`, how
        far the number went in half-widths of both intervals together; `state`, one of `STATES`: a number without an interval is its own
        interval, one that becomes undefined vanished; `verdict`, where it is another one.

    Raises
    ------
    ConfigurationError
        If a folder has none of the files.
    """
    for folder in (before, after):
        if not any((folder / source.file).is_file() for source in SOURCES):
            raise ConfigurationError(f"{folder}: expected a study's folder, with {', '.join(source.file for source in SOURCES[:2])}")
    rows = [row for source in SOURCES for row in _rows(source, _read(source, before), _read(source, after))]
    found = pd.DataFrame(rows)
    order = found["state"].map(STATES.index).rename("order")
    return (
        found.assign(order=order)
        .sort_values(["order", "size"], ascending=[True, False], kind="stable", ignore_index=True)
        .drop(columns="order")
    )


def versions(before: Path, after: Path) -> list[tuple[str, str, str]]:
    """(what, before, after) of versions of metrics and packages, of commits and machines that are not the same."""
    first, second = _versions(before), _versions(after)
    return [(name, first.get(name, ""), second.get(name, "")) for name in {**first, **second} if first.get(name) != second.get(name)]


def summary(found: pd.DataFrame) -> str:
    """How many numbers have which state, and how many verdicts are other ones."""
    counts = ", ".join(f"{(found['state'] == state).sum()} {state}" for state in STATES)
    changed = int((found["verdict"] != "").sum())
    return f"{len(found)} numbers: {counts}" + (f"; {changed} verdicts changed" if changed else "")


def held(found: pd.DataFrame) -> bool:
    """Whether nothing moved or vanished."""
    return not found["state"].isin(["moved", "vanished"]).any()


def to_rich(found: pd.DataFrame) -> Table:
    """For the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=CAPTION, caption_justify="left")
    for head in HEADS:
        table.add_column(head, overflow="fold", justify="left" if head in ("file", "number", "state", "verdict") else "right")
    colors = {"moved": "red", "vanished": "red", "appeared": "yellow"}
    for texts in _texts(found):
        table.add_row(*(Text(text, style=colors.get(text, "")) for text in texts))
    return table


def to_markdown(found: pd.DataFrame) -> str:
    """The same in Markdown."""
    rows = ([text.translate(MARKDOWN) for text in texts] for texts in _texts(found))
    return "\n".join([CAPTION, "", *md.table(HEADS, rows, "llrrrl"), ""])


def _read(source: Source, folder: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """The rows of a file by what names them; of rows with the same names each is its own."""
    path = folder / source.file
    if not path.is_file():
        return {}
    # only the columns of numbers may be empty for want of a number
    frame = pd.read_csv(
        path, dtype=dict.fromkeys(source.keys, str), keep_default_na=False, na_values={source.value: [""], "low": [""], "high": [""]}
    )
    missing = [column for column in (*source.keys, source.value, "low", "high") if column not in frame]
    if missing:
        raise ConfigurationError(f"{path}: expected columns {', '.join(missing)}: it is of another version")
    repeated = frame.groupby(list(source.keys), sort=False).cumcount().astype(str)
    names = zip(*(frame[key] for key in source.keys), repeated, strict=True)
    return dict(zip(names, [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")], strict=True))


def _rows(
    source: Source, before: dict[tuple[str, ...], dict[str, Any]], after: dict[tuple[str, ...], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """What became of each number of a file."""
    for names in {**before, **after}:
        first, second = (_interval(rows.get(names), source.value) for rows in (before, after))
        axiomatic = any(rows[names].get("metric_family") == "axiomatic" for rows in (before, after) if names in rows)
        state, size = _moved(first, second, ROUNDING if axiomatic else 0.0)
        verdicts = [str(rows[names][source.verdict]) for rows in (before, after) if source.verdict in rows.get(names, ())]
        yield {
            "file": source.file,
            **dict.fromkeys(NAMES, ""),
            **dict(zip(source.keys, names, strict=False)),
            **dict(zip(("before", "before_low", "before_high", "after", "after_low", "after_high"), (*first, *second), strict=True)),
            "size": size,
            "state": state,
            "verdict": " → ".join(_verdict(text) for text in verdicts) if len(set(verdicts)) == 2 else "",
        }


def _interval(row: dict[str, Any] | None, value: str) -> tuple[float, float, float]:
    """A number and the ends of its interval; NaN where there is none."""
    return (float(row[value]), float(row["low"]), float(row["high"])) if row else (math.nan,) * 3


def _moved(first: tuple[float, float, float], second: tuple[float, float, float], rounding: float) -> tuple[str, float]:
    """What became of a number, and how far it went in half-widths of both intervals together."""
    if math.isnan(first[0]) or math.isnan(second[0]):
        states = {(True, True): "within", (True, False): "appeared", (False, True): "vanished"}
        return states[math.isnan(first[0]), math.isnan(second[0])], math.nan
    if first[0] == second[0]:
        return "within", 0.0
    (low, high), (lower, higher) = (tuple(np.nan_to_num(ends[1:], nan=ends[0])) for ends in (first, second))
    widths = (high - low + higher - lower) / 2
    slack = max(rounding, TOLERANCE * max(map(abs, (low, high, lower, higher))))
    size = abs(first[0] - second[0]) / widths if widths > 0 else math.inf
    return ("moved" if max(low - higher, lower - high) > slack else "within"), size


def _verdict(text: str) -> str:
    return {"True": "yes", "False": "no", "": "undecided"}.get(text, text)


def _versions(folder: Path) -> dict[str, str]:
    """Versions of metrics and packages, commits and machines."""
    found = {}
    if (folder / "table.csv").is_file():
        table = pd.read_csv(folder / "table.csv", dtype={"metric": str})[["metric", "metric_version"]].drop_duplicates()
        found = {f"metric {row['metric']}": str(row["metric_version"]) for row in table.to_dict("records")}
    path = folder / "provenance.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    found |= {name: str(version) for name, version in content.get("written_by", {}).get("versions", {}).items()}
    told = {"commits": content.get("computed_by_commits", []), "machines": content.get("computed_on", [])}
    return found | {name: ", ".join(map(str, items)) for name, items in told.items()}


def _texts(found: pd.DataFrame) -> Iterator[list[str]]:
    for row in found.to_dict("records"):
        names = [row[name] for name in NAMES if row[name] and (name != "trainer" or row[name] != "auto")]
        sizes = [_text(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("before", "after")]
        yield [
            row["file"],
            " / ".join(names),
            *sizes,
            "∞" if row["size"] == math.inf else number(row["size"]),
            row["state"],
            row["verdict"],
        ]


def _text(value: float, low: float, high: float) -> str:
    """``0.12 (0.1 to 0.14)``."""
    return number(value) if math.isnan(low) or math.isnan(high) else f"{number(value)} ({number(low)} to {number(high)})"
