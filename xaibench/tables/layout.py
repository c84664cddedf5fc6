"""The layout that all tables share: what stands in rows and columns, which cells are best, which marks and notes they have."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from xaibench.component import ConfigurationError
from xaibench.stats.intervals import ONE_IMAGE, ONE_SEED, TWO_SEEDS, without_rounding
from xaibench.tables.blocks import Block, Cell, Head, Row, natural, number

WIDTH = 6
"""Columns side by side in one block: what fits across a page."""

AXES = ("dataset", "model", "explainer", "metric", "score", "family", "metric_family")
COSTS = ("forward", "backward", "seconds")
EQUAL = "†"
UNTESTED = "‡"

SENTENCES = {
    ONE_SEED: "one seed: the interval holds for this classifier only",
    TWO_SEEDS: "two seeds: the interval rests on a single difference between classifiers",
    ONE_IMAGE: "fewer than two images: the interval, if any, holds for these images only",
}

TESTS = {
    EQUAL: "not significantly different from the best (95 % interval of the difference, and Wilcoxon's test with Holm's correction)",
    UNTESTED: "not compared with the best, image by image",
}

Record = dict[Any, Any]


@dataclass(frozen=True)
class Layout:
    """What stands in the rows and in the columns of a table; what does not, and varies, makes blocks.

    Attributes
    ----------
    rows, columns
        Some of `AXES`, no one twice.
    score
        The one that is shown, where neither rows nor columns have all.
    width
        The most columns side by side in one block; None sets no limit.
    """

    rows: tuple[str, ...] = ("explainer",)
    columns: tuple[str, ...] = ("metric",)
    score: str = "value"
    width: int | None = WIDTH

    def __post_init__(self) -> None:
        for name, chosen in (("rows", self.rows), ("columns", self.columns)):
            wrong = [axis for axis in chosen if axis not in AXES]
            if wrong or not chosen:
                raise ConfigurationError(f"{name}={','.join(chosen)}: expected one or some of {', '.join(AXES)}")
        twice = [axis for axis in AXES if (self.rows + self.columns).count(axis) > 1]
        if twice:
            raise ConfigurationError(f"rows={','.join(self.rows)}, columns={','.join(self.columns)}: expected {twice[0]} only once")

    def titles(self, chosen: pd.DataFrame) -> tuple[str, ...]:
        """What makes blocks of these scores: all that is no axis, a trainer only where several occur, a score only where it is special."""
        free = [key for key in ("dataset", "model", "trainer", "explainer", "metric", "score") if key not in self.rows + self.columns]
        special = {"trainer": chosen["trainer"].nunique() > 1, "score": self.score != "value"}
        return tuple(key for key in free if special.get(key, True))


@dataclass(frozen=True)
class Extras:
    """What stands in a table beside means and intervals.

    Attributes
    ----------
    comparison
        Pairwise tests: `dataset`, `model`, `trainer`, `metric`, `first`, `second`, `differs`, see `comparison.pairs`. Headline scores that
        do not differ significantly from the best of their explainers get a mark, and so do those that were not tested where others were.
    costs
        Of explaining one image: `dataset`, `model`, `trainer`, `explainer` and `COSTS`, as columns beside each explainer.
    """

    comparison: pd.DataFrame = field(default_factory=pd.DataFrame)
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)


def blocks(aggregated: pd.DataFrame, layout: Layout | None = None, extras: Extras | None = None) -> list[Block]:
    """The tables of aggregated scores in a layout.

    Where explainers stand in rows or columns, the best mean of those that are not controls is marked, for each data set, model, trainer
    and metric, see `best`, to the ten digits that ``table.csv`` holds; ties are all marked. Direction belongs to a metric's headline:
    other scores than "value" have neither arrow nor best.

    Raises
    ------
    ConfigurationError
        If there is no such score, or if costs are asked for without explainers in the rows.
    """
    layout, extras = layout or Layout(), extras or Extras()
    axes = layout.rows + layout.columns
    chosen = aggregated if "score" in axes else aggregated[aggregated["score"] == layout.score]
    if chosen.empty:
        known = ", ".join(sorted(set(aggregated["score"]))) or "scores, and nothing is left of them"
        raise ConfigurationError(f"score={layout.score!r}: expected one of {known}")
    if len(extras.costs) and "explainer" not in layout.rows:
        raise ConfigurationError(f"rows={','.join(layout.rows)}: expected explainer among the rows, as costs are those of explainers")
    keys = layout.titles(chosen)
    records: list[Record] = chosen.to_dict("records")
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        record["direction"] = record["higher_is_better"] if record["score"] == "value" else None
        groups.setdefault(_names(record, keys), []).append(record)
    if "explainer" in axes:
        _compare(records, extras.comparison)
    made = []
    for title in sorted(groups, key=lambda names: [natural(name) for name in names]):
        members = groups[title]
        heads = _heads(members, layout.columns)
        step = layout.width or len(heads)
        parts = [heads[start : start + step] for start in range(0, len(heads), step)]
        made += [_block(members, keys, part, layout, extras.costs if part is parts[-1] else pd.DataFrame()) for part in parts]
    return made


def _compare(records: list[Record], comparison: pd.DataFrame) -> None:
    """Tell each record whether it is the best of the explainers, and whether it does not differ from the best."""
    tests: dict[tuple[str, ...], bool | None] = {}
    for found in comparison.to_dict("records"):
        place = _names(found, ("dataset", "model", "trainer", "metric"))
        differs = None if math.isnan(found["p_holm"]) else bool(found["differs"])
        tests[(*place, found["first"], found["second"])] = tests[(*place, found["second"], found["first"])] = differs
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(_names(record, ("dataset", "model", "trainer", "metric", "score")), []).append(record)
    for members in groups.values():
        direction, rivals = members[0]["direction"], [row for row in members if row["family"] != "control"]
        first = None if direction is None else best(rivals, direction)
        if first is None:
            continue
        tested = _names(members[0], ("dataset", "model", "trainer", "metric"))
        for record in members:
            rival = record["family"] != "control" and enough(record)
            record["best"] = rival and _worth(record) == _worth(first)
            differs = tests.get((*tested, str(first["explainer"]), str(record["explainer"])))
            record["mark"] = "" if differs or not tests else UNTESTED if differs is None else EQUAL


def best(rivals: Sequence[Record], higher: bool) -> Record | None:
    """The row with the best defined `mean` over `enough` images, if there is one; of equal ones the first."""
    known = [row for row in rivals if not math.isnan(row["mean"]) and enough(row)]
    return max(known, key=lambda row: _worth(row) if higher else -_worth(row), default=None)


def enough(row: Record) -> bool:
    """Whether a mean is over at least half of the planned images: one over the few that are left is of others, see `Scored.usable`."""
    return bool(2 * row["images"] >= row["planned"])


def _worth(row: Record) -> float:
    """The mean, to ten digits."""
    return float(f"{without_rounding(row['mean'], row['metric_family']):.10g}")


def _names(record: Record, keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(record[key]) for key in keys)


def _heads(records: list[Record], keys: tuple[str, ...]) -> list[Head]:
    """What these keys have in the records, in order."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(_names(record, keys), []).append(record)
    ordered = sorted(groups, key=lambda names: [_order(groups[names][0], key) for key in keys])
    return [_head(names, groups[names], keys) for names in ordered]


def _head(names: tuple[str, ...], records: list[Record], keys: tuple[str, ...]) -> Head:
    directions = {record["direction"] for record in records} if {"metric", "score"} & set(keys) else {None}
    arrow = {True: "↑", False: "↓", None: ""}[directions.pop()] if len(directions) == 1 else ""
    return Head(names, arrow, bool({"explainer", "family"} & set(keys)) and records[0]["family"] == "control")


def _order(record: Record, key: str) -> tuple[Any, ...]:
    first = {
        "explainer": record["family"] == "control",
        "family": record["family"] == "control",
        "metric": record["metric_family"],
        "score": record["score"] != "value",
    }
    return first.get(key, ""), natural(str(record[key]))


def _block(records: list[Record], keys: tuple[str, ...], columns: list[Head], layout: Layout, costs: pd.DataFrame) -> Block:
    shown = {head.names for head in columns}
    records = [record for record in records if _names(record, layout.columns) in shown]
    found = {(_names(record, layout.rows), _names(record, layout.columns)): record for record in records}
    heads = _heads(records, layout.rows)
    places = {place: found[place] for place in ((row.names, head.names) for row in heads for head in columns) if place in found}
    remarks = {place: _remarks(record) for place, record in places.items()}
    general = [text for text in next(iter(remarks.values())) if all(text in texts for texts in remarks.values())]
    order = dict.fromkeys(text for texts in remarks.values() for text in texts if text not in general)
    marks = {text: _mark(position) for position, text in enumerate(order)}

    def cell(row: Head, column: Head) -> Cell | None:
        record = places.get((row.names, column.names))
        if record is None:
            return None
        tested = "" if record.get("best") else record.get("mark", "")
        own = (*(marks[text] for text in remarks[row.names, column.names] if text in marks), *filter(None, [tested]))
        numbers = record["mean"], record["low"], record["high"]
        return Cell(*number(numbers[0], (numbers[2] - numbers[1]) / 2), bool(record.get("best")), own, numbers)

    rows = [Row(head, tuple(cell(head, column) for column in columns)) for head in heads]
    notes = [(mark, text) for text, mark in marks.items()]
    used = {mark for row in rows for one in row.cells if one for mark in one.marks}
    notes += [(mark, text) for mark, text in TESTS.items() if mark in used]
    if len(costs):
        spent = [_costs([record for record in records if _names(record, layout.rows) == row.head.names], costs) for row in rows]
        rows = [Row(row.head, (*row.cells, *more)) for row, more in zip(rows, spent, strict=True)]
        columns = [*columns, *(Head((f"{name} / image",), cost=True) for name in COSTS)]
        general.append(
            "forward and backward passes and seconds of explaining one image; seconds are those of the machine that ran the study"
        )
    title = _head(_names(records[0], keys), records, keys)
    return Block(keys, Head(title.names, title.arrow), layout.rows, tuple(columns), tuple(rows), tuple(general), tuple(notes))


def _costs(records: list[Record], costs: pd.DataFrame) -> list[Cell | None]:
    """Mean costs of what a row holds."""
    names = ["dataset", "model", "trainer", "explainer"]
    wanted = {_names(record, names) for record in records}
    found = costs[[place in wanted for place in zip(*(costs[name].astype(str) for name in names), strict=True)]]
    if not len(found):
        return [None] * len(COSTS)
    means: Mapping[Any, float] = found[list(COSTS)].mean().to_dict()
    return [Cell(*_spent(name, means[name]), False, (), (means[name],)) for name in COSTS]


def _spent(name: str, mean: float) -> tuple[str, str, int]:
    return number(mean, math.nan) if name == "seconds" else (f"{mean:.0f}" if mean >= 1000 else f"{mean:.4g}", "", 0)


def _remarks(row: Record) -> list[str]:
    """The sentences that a row of the aggregated table calls for."""
    found = [SENTENCES.get(part, part) for part in row["note"].split("; ") if part]
    if row["undefined"]:
        found.append(f"undefined (image, seed) pairs: {row['undefined']}; their images are left out, {row['images']} remain")
    return found


def _mark(position: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    letters = string.ascii_lowercase
    return letters[position] if position < len(letters) else _mark(position // len(letters) - 1) + letters[position % len(letters)]
