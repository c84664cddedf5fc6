"""Running a grid: what is not in the store is computed, and what fails is put on record instead of raised."""

from __future__ import annotations

import itertools
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from xaibench.disk import StoreError
from xaibench.failures import Failure
from xaibench.grid import Cell, Entry, Grid
from xaibench.identity import Explaining, influence_key, predict_key, train_key
from xaibench.influence.analysis import Influence
from xaibench.planning import Planned, helpers, plan
from xaibench.problem import Training
from xaibench.stages import Stages, UnsupportedError
from xaibench.store import Store

Phase = Literal["train", "explain", "evaluate"]
PHASES: tuple[Phase, ...] = get_args(Phase)
"""How far a grid is computed; each phase needs the one before it, and computes what is lacking of it."""

log = logging.getLogger(__name__)


def run(grid: Grid, stages: Stages, phase: Phase = "evaluate") -> None:
    """Compute what the store does not have of a grid, up to a phase. A failing cell is put on record and does not stop the others.

    So is a cell that turns out not to be supported, such as with a helper that is not good enough: its record has no traceback.
    What has a record is not tried again, and what needs it fails with it: `retry` removes the records. Classifiers and explanations
    of cached cells are restored where they are absent.

    Raises
    ------
    StoreError
        If nothing can be kept any more, because the disk is full or the store is read-only.
    """
    if not grid.explainers:
        for training in grid.trainings():
            _classifier(training, stages)
    for training, entry in grid.analyses():
        _analysis(training, entry, stages)
    planned = plan(grid, stages.store)
    if phase == "train":
        for key, helper in helpers(planned).items():
            _helper(key, helper, stages)
        return
    for explaining, members in itertools.groupby(planned, key=lambda item: item.cell.explaining):
        _explained(explaining, list(members), stages, phase)


def _explained(explaining: Explaining, members: list[Planned], stages: Stages, phase: Phase) -> None:
    """Compute the cells of one explanation, or the explanation alone."""
    start, store = time.perf_counter(), stages.store
    todo = [item for item in members if item.status == "to do"]
    if not todo and (complete(explaining, store) or not any(item.status == "cached" for item in members)):
        return
    broken = _explanation(members[0].cell, stages)
    if phase == "explain":
        state = "explained" if broken is None else "skipped" if broken.skipped else "failed"
        log.info("%s: %s (%.1f s)", members[0].cell.name, state, time.perf_counter() - start)
        return
    for item in todo:
        _cell(item, broken, stages)
    lacking = [item.key for item in todo if not store.has("evaluate", item.key)]
    skipped = sum(record is not None and record.skipped for record in map(store.failures.of, lacking))
    states = {"scores": len(todo) - len(lacking), "failed": len(lacking) - skipped, "skipped": skipped}
    told = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    log.info("%s: %s (%.1f s)", members[0].cell.name, told, time.perf_counter() - start)


def missing(grid: Grid, cells: Sequence[Planned], store: Store) -> list[str]:
    """Of classifiers, analyses and explanations, which the cells' tables and figures show beside the scores: keys that are not there."""
    if not grid.explainers:
        untrained = [training for training in grid.trainings() if not trained(training, store)]
        return [predict_key(training)[0] for training in untrained] + _lacking_analyses(grid, store)
    wanted = dict.fromkeys(item.cell.explaining for item in cells if item.status != "skipped")
    lacking = [explaining for explaining in wanted if not complete(explaining, store)]
    keys = dict.fromkeys(key for item in lacking for key in (predict_key(item.training)[0], item.key))
    return [*keys, *_lacking_analyses(grid, store)]


def retry(grid: Grid, cells: Sequence[Planned], store: Store) -> None:
    """Forget the failures of a grid, so that it is tried again."""
    failed = store.failures.keys()
    if failed:
        again = [replace(item, status="to do") for item in cells if item.status == "to do" or item.key in failed]
        store.failures.forget(failed & {*missing(grid, cells, store), *(item.key for item in again), *helpers(again)})


def _lacking_analyses(grid: Grid, store: Store) -> list[str]:
    found = [influence_key(training, entry.component)[0] for training, entry in grid.analyses()]
    return [key for key in found if not store.has("influence", key)]


def complete(explaining: Explaining, store: Store) -> bool:
    """Whether the explanation and its classifier are in the store: tables and figures show them beside the scores."""
    return trained(explaining.training, store) and store.has("explain", explaining.key)


def trained(training: Training, store: Store) -> bool:
    """Whether a classifier and its predictions are in the store."""
    return store.has("train", train_key(training)[0]) and store.has("predict", predict_key(training)[0])


def _cell(item: Planned, broken: Failure | None, stages: Stages) -> None:
    cell, failures = item.cell, stages.store.failures
    if broken is None and (failed := failures.keys()):
        broken = next((failures.of(key) for key in helpers([item]) if key in failed and not stages.store.has("train", key)), None)
    if broken:
        failures.record(item.key, Failure(str(cell), broken.message, broken.traceback))
    else:
        _attempt(lambda: stages.evaluate(cell.explaining, cell.metric.component, cell.score_on), str(cell), item.key, stages)


def _explanation(cell: Cell, stages: Stages) -> Failure | None:
    """Make sure that the cell's classifier and explanation are there; the record of the failure if they cannot be had."""
    key, broken = cell.explaining.key, _classifier(cell.training, stages)
    if broken is None and not stages.store.has("explain", key) and not stages.store.failures.of(key):
        _attempt(lambda: stages.explain(cell.explaining), cell.name, key, stages)
    return broken or (None if stages.store.has("explain", key) else stages.store.failures.of(key))


def _analysis(training: Training, entry: Entry[Influence], stages: Stages) -> None:
    key = influence_key(training, entry.component)[0]
    there = stages.store.has("influence", key) or stages.store.failures.of(key)
    if not there and not _classifier(training, stages):
        _attempt(lambda: stages.influence(training, entry.component), f"{entry.name} of {_told(training)}", key, stages)


def _classifier(training: Training, stages: Stages) -> Failure | None:
    """Make sure that the classifier and its predictions are there; the record of the failure if they cannot be had."""
    key = predict_key(training)[0]
    if trained(training, stages.store):
        return None
    if not stages.store.failures.of(key):
        _attempt(lambda: (stages.train(training), stages.predict(training)), _told(training), key, stages)
    return stages.store.failures.of(key)


def _helper(key: str, training: Training, stages: Stages) -> None:
    if not stages.store.has("train", key) and not stages.store.failures.of(key):
        _attempt(lambda: stages.train(training), _told(training), key, stages)


def _told(training: Training) -> str:
    return f"{type(training.model).__name__} on {type(training.dataset).__name__}, seed {training.seed}"


def _attempt(compute: Callable[[], Any], name: str, key: str, stages: Stages) -> None:
    """Run one cell, explanation or training, and put on record what goes wrong."""
    start, failures = time.perf_counter(), stages.store.failures
    try:
        compute()
    except StoreError:  # nothing that comes after it could be kept either
        raise
    except UnsupportedError as error:
        log.warning("skipped %s: %s", name, error)
        failures.record(key, Failure(name, str(error)))
    except Exception as error:  # whatever goes wrong in one cell must not stop the others; it is recorded and reported
        message = f"{type(error).__name__}: {error}"
        log.error("failed %s: %s", name, message)
        failures.record(key, Failure(name, message, traceback.format_exc()))
    else:
        failures.forget([key])
        log.debug("done %s (%.1f s)", name, time.perf_counter() - start)
