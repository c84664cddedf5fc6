"""The smallest version of a study that still uses everything: to see that it runs, not what it says."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xaibench.component import Component, ConfigurationError
from xaibench.grid import Entry, Grid
from xaibench.problem import Family

SEEDS, EXPLAINERS, METRICS, IMAGES, BACKGROUND = 2, 3, 2, 4, 10

BUDGETS = {
    **dict.fromkeys(("epochs", "randomizations", "repeats"), 1),
    **dict.fromkeys(("steps", "iterations", "most_rounds", "most_candidates", "resamples"), 4),
    **dict.fromkeys(("samples", "masks", "patience", "warm_up"), 16),
    **dict.fromkeys(("images", "train_images", "test_images"), 400),
}
"""The most that a field of this name may have."""


def reduced(grid: Grid) -> Grid:
    """One network with at most two seeds, three explainers and two metrics, on four images, with tiny budgets."""
    dataset, model, trainer, _ = next(grid.classifiers())
    on = grid.explain_on[0]
    count, indices = min(on.component.count or IMAGES, IMAGES), on.component.indices
    few = dataclasses.replace(
        on.component, count=count, background=min(on.component.background, BACKGROUND), indices=indices and indices[:IMAGES]
    )
    return dataclasses.replace(
        grid,
        datasets=_tiny((dataset,)),
        models=(model,),
        trainers=(Entry(trainer.name, dataclasses.replace(trainer.component, epochs=1)),),
        explain_on=(Entry(on.name, few),),
        explainers=_spread(_tiny(grid.explainers)),
        metrics=_tiny(grid.metrics)[:METRICS],
        seeds=grid.seeds[:SEEDS],
        draws=grid.draws[:1],
        influences=_tiny(grid.influences)[:1],
        budget=None,
    )


def kinds(folder: Path) -> dict[str, tuple[str, ...]]:
    """The study's files but pictures and page, and the columns of those that have columns; fields of components are not told."""
    import pandas as pd
    import pyarrow.parquet

    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".csv":
            found[path.name] = tuple(pd.read_csv(path, nrows=0).columns)
        elif path.suffix == ".parquet":
            found[path.name] = tuple(sorted(name for name in pyarrow.parquet.read_schema(path).names if "." not in name))
        elif path.suffix not in (".png", ".html"):
            found[path.name] = ()
    return found


def other_kinds(before: Path, after: Path) -> Iterator[str]:
    """In words: files that only one of two folders has, and columns that differ."""
    first, second = kinds(before), kinds(after)
    for name in sorted({*first, *second}):
        if name not in second:
            yield f"{name}: not written"
        elif name not in first:
            yield f"{name}: new"
        elif first[name] != second[name]:
            gone, new = (", ".join(sorted({*a} - {*b})) or "none" for a, b in ((first[name], second[name]), (second[name], first[name])))
            yield f"{name}: columns gone: {gone}; new: {new}"


def _tiny(entries: tuple[Entry[Any], ...]) -> tuple[Entry[Any], ...]:
    """With tiny budgets; those that become equal are one."""
    return tuple(dict.fromkeys(Entry(entry.name, _least(entry.component)) for entry in entries))


def _spread(entries: tuple[Entry[Any], ...]) -> tuple[Entry[Any], ...]:
    """The first, the middle and the last explainer, with controls last: neighbors are of one kind."""
    entries = tuple(sorted(entries, key=lambda entry: entry.component.family is Family.CONTROL))
    places = range(EXPLAINERS) if len(entries) <= EXPLAINERS else (i * (len(entries) - 1) // (EXPLAINERS - 1) for i in range(EXPLAINERS))
    return tuple(entries[place] for place in places if place < len(entries))


def _least(component: Any) -> Any:
    """A component with tiny budgets, in its parts too; a budget that it cannot have stays."""
    for field in dataclasses.fields(component):
        value = getattr(component, field.name)
        smaller = _least(value) if isinstance(value, Component) else value
        if isinstance(value, int) and not isinstance(value, bool):
            smaller = min(value, BUDGETS.get(field.name, value))
        if smaller != value:
            with contextlib.suppress(ConfigurationError):
                component = dataclasses.replace(component, **{field.name: smaller})
    return component
