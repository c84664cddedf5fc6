"""Running a grid: every cell that is not in the store, with failures recorded instead of raised."""

from __future__ import annotations

import itertools
import json
import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xaibench.grid import Cell, Entry, Grid
from xaibench.identity import Explaining, influence_key, predict_key, train_key
from xaibench.influence.analysis import Influence
from xaibench.planning import Planned, plan
from xaibench.problem import Training
from xaibench.stages import Stages, UnsupportedError
from xaibench.store import Store

log = logging.getLogger(__name__)


def run(grid: Grid, stages: Stages, failures: Path, progress: Callable[[Cell], None] = lambda cell: None) -> None:
    """Compute every cell that is not in the store. A failing cell is recorded in `failures` and does not stop the others.

    So is a cell that turns out not to be supported, such as with a helper that is not good enough: its record has no traceback.

    A classifier whose failure is on record is not trained again, and its cells fail with it: delete the record to retry. Classifiers
    and explanations of cached cells are restored where they are absent.

    Parameters
    ----------
    failures
        A folder for one file for each failed cell, or classifier: message, traceback.
    progress
        Called after each cell.
    """
    if not grid.explainers:
        for dataset, model, trainer, seed in grid.classifiers():
            _classifier(Training(dataset.component, model.component, trainer.component, seed), stages, failures)
    for training, entry in grid.analyses():
        _analysis(training, entry, stages, failures)
    for explaining, group in itertools.groupby(plan(grid, stages.store), key=lambda planned: planned.cell.explaining):
        members, start = list(group), time.perf_counter()
        todo = [planned for planned in members if planned.status == "to do"]
        wanted = todo or (any(planned.status == "cached" for planned in members) and not complete(explaining, stages.store))
        broken = _explanation(members[0].cell, stages, failures) if wanted else None
        for planned in members:
            if planned.status == "to do":
                _cell(planned, broken, stages, failures)
            progress(planned.cell)
        if todo:
            lacking = [planned.key for planned in todo if not stages.store.has("evaluate", planned.key)]
            failed = sum(bool((failure(key, failures) or {}).get("traceback", True)) for key in lacking)
            states = {"scores": len(todo) - len(lacking), "failed": failed, "skipped": len(lacking) - failed}
            told = ", ".join(f"{count} {state}" for state, count in states.items() if count)
            log.info("%s: %s (%.1f s)", members[0].cell.name, told, time.perf_counter() - start)


def missing(grid: Grid, cells: list[Planned], store: Store) -> list[str]:
    """Keys under which `run` records why a classifier or an explanation cannot be had, of those that are not in the store."""
    if not grid.explainers:
        trainings = [
            Training(dataset.component, model.component, trainer.component, seed) for dataset, model, trainer, seed in grid.classifiers()
        ]
        absent = [predict_key(training)[0] for training in trainings if not _trained(training, store)]
        return absent + _lacking_analyses(grid, store)
    wanted = dict.fromkeys(planned.cell.explaining for planned in cells if planned.status != "skipped")
    lacking = [explaining for explaining in wanted if not complete(explaining, store)]
    keys = dict.fromkeys(key for item in lacking for key in (predict_key(item.training)[0], item.key))
    return [*keys, *_lacking_analyses(grid, store)]


def _lacking_analyses(grid: Grid, store: Store) -> list[str]:
    found = [influence_key(training, entry.component)[0] for training, entry in grid.analyses()]
    return [key for key in found if not store.has("influence", key)]


def complete(explaining: Explaining, store: Store) -> bool:
    """Whether the explanation and its classifier are in the store: tables and figures show them beside the scores."""
    return _trained(explaining.training, store) and store.has("explain", explaining.key)


def _trained(training: Training, store: Store) -> bool:
    return store.has("train", train_key(training)[0]) and store.has("predict", predict_key(training)[0])


def _cell(planned: Planned, broken: dict[str, str] | None, stages: Stages, failures: Path) -> None:
    cell = planned.cell
    if broken:
        _record(failures, planned.key, str(cell), broken["message"], broken["traceback"])
    else:
        _attempt(lambda: stages.evaluate(cell.explaining, cell.metric.component, cell.score_on), str(cell), planned.key, failures)


def _explanation(cell: Cell, stages: Stages, failures: Path) -> dict[str, str] | None:
    """Make sure that the cell's classifier and explanation are there; the record of the failure if they cannot be had."""
    key, broken = cell.explaining.key, _classifier(cell.training, stages, failures)
    if broken or stages.store.has("explain", key):
        return broken
    _attempt(lambda: stages.explain(cell.explaining), cell.name, key, failures)
    return failure(key, failures)


def _analysis(training: Training, entry: Entry[Influence], stages: Stages, failures: Path) -> None:
    key = influence_key(training, entry.component)[0]
    if not stages.store.has("influence", key) and not _classifier(training, stages, failures):
        name = f"{entry.name} of {type(training.model).__name__} on {type(training.dataset).__name__}, seed {training.seed}"
        _attempt(lambda: stages.influence(training, entry.component), name, key, failures)


def _classifier(training: Training, stages: Stages, failures: Path) -> dict[str, str] | None:
    """Make sure that the classifier and its predictions are there; the record of the failure if they cannot be had."""
    key = predict_key(training)[0]
    if not _trained(training, stages.store) and not failure(key, failures):
        name = f"{type(training.model).__name__} on {type(training.dataset).__name__}, seed {training.seed}"
        _attempt(lambda: (stages.train(training), stages.predict(training)), name, key, failures)
    return failure(key, failures)


def failure(key: str, failures: Path) -> dict[str, str] | None:
    """Message and traceback ("" where it was skipped) of the last failure of a cell, an explanation or a classifier, or None."""
    path = failures / f"{key}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _attempt(compute: Callable[[], Any], name: str, key: str, failures: Path) -> None:
    """Run, log and record one cell or classifier."""
    start = time.perf_counter()
    try:
        compute()
    except UnsupportedError as error:
        log.warning("skipped %s: %s", name, error)
        _record(failures, key, name, str(error), "")
    except Exception as error:  # whatever goes wrong in one cell must not stop the others; it is recorded and reported
        message = f"{type(error).__name__}: {error}"
        log.error("failed %s: %s", name, message)
        _record(failures, key, name, message, traceback.format_exc())
    else:
        (failures / f"{key}.json").unlink(missing_ok=True)
        log.debug("done %s (%.1f s)", name, time.perf_counter() - start)


def _record(failures: Path, key: str, name: str, message: str, trace: str) -> None:
    failures.mkdir(parents=True, exist_ok=True)
    (failures / f"{key}.json").write_text(json.dumps({"cell": name, "message": message, "traceback": trace}, indent=1))
