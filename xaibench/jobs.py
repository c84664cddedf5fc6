"""From a grid to the jobs that compute it: what is lacking, in an order in which no job waits for another, and in shares worth starting."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from xaibench.component import Component
from xaibench.execution import Phase, complete, trained
from xaibench.grid import Entry, Grid
from xaibench.identity import influence_key, predict_key
from xaibench.planning import Planned, helpers
from xaibench.problem import Training
from xaibench.store import Store

OVERHEAD = 1000
"""What a cell costs beside its passes, in passes."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Job:
    """What one process computes: a part of a grid, with one classifier, up to a phase."""

    phase: Phase
    grid: Grid


@dataclass(frozen=True)
class _Part:
    """A cell, and where in the grid it stands, but for explainer and metric."""

    place: tuple[Any, ...]
    explainer: Entry[Any]
    metric: Entry[Any]
    item: Planned

    def grid(self, whole: Grid, explainers: Sequence[Entry[Any]], metrics: Sequence[Entry[Any]]) -> Grid:
        """The part of the grid at this place with these explainers and metrics."""
        dataset, model, trainer, seed, explain_on, draw = self.place
        axes: dict[str, Any] = {"datasets": (dataset,), "models": (model,), "trainers": (trainer,), "seeds": (seed,)}
        return replace(whole, **axes, explain_on=(explain_on,), draws=(draw,), explainers=tuple(explainers), metrics=tuple(metrics))


def batches(grid: Grid, cells: Sequence[Planned], store: Store, passes: int) -> Iterator[list[Job]]:
    """The jobs that are left to do, in batches: each batch needs what those before it compute.

    First the classifiers and analyses, then further networks that several jobs need, then explanations, then scores.

    Parameters
    ----------
    cells
        Of the grid, in its order.
    passes
        What a job takes at least, where there is so much to do for one classifier: starting it costs as long as many of them.
    """
    parts = _parts(grid, cells)
    todo = [part for part in parts if part.item.status == "to do"]
    failed = store.failures.keys()
    lacking = [
        part
        for part in parts
        if part.item.status in ("to do", "cached")
        and part.item.cell.explaining.key not in failed
        and not complete(part.item.cell.explaining, store)
    ]
    for jobs in (
        _classifiers(grid, {part.item.cell.training for part in [*todo, *lacking]}, store, failed),
        _shared_helpers(grid, todo, store, failed),
        _explanations(grid, lacking, passes),
        _scores(grid, todo, passes),
    ):
        if found := list(jobs):
            yield found


def _parts(grid: Grid, cells: Sequence[Planned]) -> list[_Part]:
    axes = (grid.datasets, grid.models, grid.trainers, grid.seeds, grid.explain_on, grid.explainers, grid.draws, grid.metrics)
    return [
        _Part((dataset, model, trainer, seed, explain_on, draw), explainer, metric, item)
        for (dataset, model, trainer, seed, explain_on, explainer, draw, metric), item in zip(itertools.product(*axes), cells, strict=True)
    ]


def _classifiers(grid: Grid, wanted: set[Training], store: Store, failed: set[str]) -> Iterator[Job]:
    """Classifiers that are wanted, or have analyses to do."""
    for dataset, model, trainer, seed in grid.classifiers():
        training = Training(dataset.component, model.component, trainer.component, seed)
        keys = [influence_key(training, entry.component)[0] for entry in grid.influences]
        analyses = any(not store.has("influence", key) and key not in failed for key in keys)
        lacking = (training in wanted or not grid.explainers) and not trained(training, store) and predict_key(training)[0] not in failed
        if analyses or lacking:
            one: dict[str, Any] = {"datasets": (dataset,), "models": (model,), "trainers": (trainer,), "seeds": (seed,)}
            one |= {"explain_on": grid.explain_on[:1], "draws": grid.draws[:1], "explainers": (), "metrics": ()}
            yield Job("train", replace(grid, **one))


def _shared_helpers(grid: Grid, todo: Sequence[_Part], store: Store, failed: set[str]) -> Iterator[Job]:
    """Networks that more than one explanation's cells need; others are trained with the cell that needs them."""
    users: dict[str, dict[str, _Part]] = {}
    needs: dict[tuple[Training, Component, Component], list[str]] = {}
    for part in todo:
        cell = part.item.cell
        parents = cell.training, cell.explainer.component, cell.metric.component
        if parents not in needs:
            needs[parents] = [key for key in helpers([part.item]) if not store.has("train", key) and key not in failed]
        for key in needs[parents]:
            users.setdefault(key, {}).setdefault(cell.explaining.key, part)
    first = {id(part): part for found in users.values() if len(found) > 1 for part in itertools.islice(found.values(), 1)}
    for part in first.values():
        yield Job("train", part.grid(grid, [part.explainer], [part.metric]))


def _explanations(grid: Grid, lacking: Sequence[_Part], passes: int) -> Iterator[Job]:
    for parts in _by_place(lacking):
        first: dict[Entry[Any], _Part] = {}
        for part in parts:
            first.setdefault(part.explainer, part)
        metrics = list(dict.fromkeys(part.metric for part in first.values()))
        for explainers in _shares({explainer: _work(part.item, explaining=True) for explainer, part in first.items()}, passes):
            yield Job("explain", parts[0].grid(grid, explainers, metrics))


def _scores(grid: Grid, todo: Sequence[_Part], passes: int) -> Iterator[Job]:
    """Explainers with little to do together; one with much alone, or in several jobs with some metrics each."""
    for parts in _by_place(todo):
        work: dict[Entry[Any], dict[Entry[Any], int]] = {}
        for part in parts:
            work.setdefault(part.explainer, {})[part.metric] = _work(part.item)
        totals = {explainer: sum(metrics.values()) for explainer, metrics in work.items()}
        for explainers in _shares({name: total for name, total in totals.items() if total < 2 * passes}, passes):
            metrics = dict.fromkeys(metric for explainer in explainers for metric in work[explainer])
            yield Job("evaluate", parts[0].grid(grid, explainers, list(metrics)))
        for explainer, total in totals.items():
            for some in _shares(work[explainer], passes) if total >= 2 * passes else ():
                yield Job("evaluate", parts[0].grid(grid, [explainer], some))


def _by_place(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    places: dict[tuple[Any, ...], list[_Part]] = {}
    for part in parts:
        places.setdefault(part.place, []).append(part)
    return iter(places.values())


def _work(item: Planned, explaining: bool = False) -> int:
    passes = item.explaining if explaining else item.scoring
    return OVERHEAD + passes.forward + passes.backward


def _shares(work: Mapping[Item, int], least: int) -> Iterator[list[Item]]:
    """Neighbors together, until they take `least`."""
    share: list[Item] = []
    taken = 0
    for item, passes in work.items():
        share, taken = [*share, item], taken + passes
        if taken >= least:
            yield share
            share, taken = [], 0
    if share:
        yield share
