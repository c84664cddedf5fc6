"""Explainers by metrics: the table's own numbers with what the page sorts by, and who leads each metric."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xaibench.report.study import Study
from xaibench.stats.standings import Tests, tests
from xaibench.tables.blocks import Block, Cell, number, plain
from xaibench.tables.layout import Layout, Record, best, blocks, enough

BEST, CLEAR = 1, 2
"""Bits of a cell: best of its metric among explainers that are no controls; significantly better than the best control."""


@dataclass(frozen=True)
class Leader:
    """The best explainer of a metric beside the best control.

    Attributes
    ----------
    title, metric, family, arrow
        Where: dataset and model, the metric with its family, and its arrow towards better scores.
    explainer, score, control, control_score
        Names and ``mean ± half-width``; `control` is empty where none has a score.
    verdict
        Whether the leader is significantly better than the best control (`comparison.pairs`): ``yes``, ``no`` (it is worse),
        ``undecided``, or ``not compared``; empty where there is no control.
    tied
        Other explainers with the same mean.
    """

    title: tuple[str, ...]
    metric: str
    family: str
    arrow: str
    explainer: str
    score: str
    control: str
    control_score: str
    verdict: str
    tied: tuple[str, ...] = ()


def boards(study: Study) -> list[dict[str, Any]]:
    """One board for each trained classifier, as the page's script reads it.

    A cell is null or [mean, text, bits, marks]; explainers and metrics are positions in `Study.explainers` and `Study.metrics`.
    """
    places = {name: place for place, name in enumerate(study.explainers)}
    metrics = {name: place for place, name in enumerate(study.metrics)}
    found, tested = [], _tests(study)
    for block, records in _blocks(study):
        order = sorted(range(len(block.columns)), key=lambda place: metrics[block.columns[place].names[0]])
        names = [block.columns[place].names[0] for place in order]
        controls = {name: best_control(records, name) for name in names}
        rows = []
        for row in block.rows:
            cells = [
                _cell(cell, records[row.head.names[0], name], controls[name], tested.get((*block.title.names, name), {})) if cell else None
                for cell, name in zip((row.cells[place] for place in order), names, strict=True)
            ]
            rows.append([places[row.head.names[0]], cells])
        heads = [metrics[name] for name in names]
        notes = {"general": list(block.general), "notes": [list(note) for note in block.notes]}
        found.append({"title": list(block.title.names), "metrics": heads, "rows": rows, **notes})
    return found


def leaders(study: Study) -> list[Leader]:
    """Who leads each metric that has a direction, classifier by classifier; metrics without a defined score are left out."""
    found, tested = [], _tests(study)
    for block, records in _blocks(study):
        for metric, arrow in ((head.names[0], head.arrow) for head in block.columns):
            rivals = [row for (_, name), row in records.items() if name == metric and row["family"] != "control"]
            leader = best(rivals, arrow == "↑") if arrow else None
            if leader is None:
                continue
            control = best_control(records, metric)
            verdict = "" if control is None else _verdict(leader, control, tested.get((*block.title.names, metric)))
            name, score = ("", "") if control is None else (control["explainer"], _text(control))
            known = block.title.names, metric, leader["metric_family"], arrow, leader["explainer"], _text(leader)
            found.append(Leader(*known, name, score, verdict, _equal(leader, rivals)))
    return found


def best_control(records: dict[tuple[str, str], Record], metric: str) -> Record | None:
    """The best control by a metric, or None where there is none, or no direction."""
    controls = [row for (_, name), row in records.items() if name == metric and row["family"] == "control"]
    return best(controls, controls[0]["higher_is_better"]) if controls and controls[0]["higher_is_better"] is not None else None


def _tests(study: Study) -> dict[tuple[str, ...], Tests]:
    return tests(study.comparison, [name for name, family in study.explainers.items() if family == "control"], study.keys)


def _equal(leader: Record, rivals: list[Record]) -> tuple[str, ...]:
    """The other explainers whose mean is the leader's, but for rounding."""
    near = [row for row in rivals if enough(row) and math.isclose(row["mean"], leader["mean"], rel_tol=1e-9)]
    return tuple(row["explainer"] for row in near if row is not leader)


def _verdict(leader: Record, control: Record, tested: Tests | None) -> str:
    if tested is None:
        return "not compared"
    return {True: "yes", False: "no", None: "undecided"}[tested.get((leader["explainer"], control["explainer"]))]


def _blocks(study: Study) -> Iterator[tuple[Block, dict[tuple[str, str], Record]]]:
    """Each classifier's block with its rows by (explainer, metric)."""
    if study.table.empty:
        return
    keys, rows = study.keys, study.table.to_dict("records")
    for block in blocks(study.table, Layout(width=None)):
        own = [row for row in rows if tuple(row[key] for key in keys) == block.title.names]
        yield block, {(str(row["explainer"]), str(row["metric"])): {str(key): value for key, value in row.items()} for row in own}


def _cell(cell: Cell, row: Record, control: Record | None, tested: Tests) -> list[Any]:
    beats = control is not None and tested.get((row["explainer"], control["explainer"])) is True
    mean = None if math.isnan(row["mean"]) else row["mean"]
    bare = Cell(cell.mean, cell.half, cell.exponent, cell.best, ())
    return [mean, plain(bare), BEST * cell.best + CLEAR * beats, " ".join(cell.marks)]


def _text(row: Record) -> str:
    return plain(Cell(*number(row["mean"], (row["high"] - row["low"]) / 2), False, ()))
