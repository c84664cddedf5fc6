"""How far a sweep is, as its view tells it: cells done and failed, what is running, and the time that is left."""

from __future__ import annotations

import dataclasses
import io
import time

import filelock
import pytest
from rich.console import Console

from xaibench import progress
from xaibench.datasets.digits import Digits
from xaibench.execution import run
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.random import Random
from xaibench.failures import Failure
from xaibench.grid import Entry, Grid
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.linear import Linear
from xaibench.planning import plan
from xaibench.progress import Watch, clock, names, watching
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Store
from xaibench.training import Trainer

GRID = Grid(
    datasets=(Entry("digits", Digits()),),
    models=(Entry("linear", Linear()),),
    trainers=(Entry("auto", Trainer(epochs=1)),),
    explain_on=(Entry("explain_on", ExplainOn(count=4)),),
    explainers=(Entry("gradient", Gradient()), Entry("random", Random())),
    metrics=(Entry("sparseness", Sparseness()), Entry("deletion", Deletion(steps=3))),
    seeds=(0,),
)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def test_a_view_follows_the_store(store):
    cells = plan(GRID, store)
    watch = Watch(cells, store)
    before = watch.look()
    assert (before.cells, before.done, before.failed, before.running, before.left) == (4, 0, 0, (), None)
    watch.started -= 100
    run(dataclasses.replace(GRID, explainers=GRID.explainers[:1]), Stages(store, Runtime("cpu")))
    half = watch.look()
    assert (half.done, half.failed) == (2, 0)
    assert half.left == pytest.approx(100, rel=0.1)  # as much as was done
    store.failures.record(cells[2].key, Failure("a cell", "fell", "Traceback"))
    store.failures.record(cells[2].cell.explaining.key, Failure("its explanation", "fell", "Traceback"))
    assert (watch.look().done, watch.look().failed) == (2, 1)
    store.failures.forget([cells[2].cell.explaining.key])
    run(GRID, Stages(store, Runtime("cpu")))
    after = watch.look()
    assert (after.done, after.failed, after.left) == (3, 1, None)
    assert str(after) == "3 of 4 cells done, 1 failed, 0 running"


def test_what_turns_out_not_to_be_supported_is_no_failure(store):
    cells = plan(GRID, store)
    watch = Watch(cells, store)
    store.failures.record(cells[0].key, Failure("a cell", "its helper is not good enough"))
    state = watch.look()
    assert (state.done, state.failed, state.skipped) == (0, 0, 1)
    assert str(state).startswith("0 of 4 cells done, 1 skipped, 0 failed, 0 running")


@pytest.mark.parametrize("seen", ["running", "done"])
def test_time_left_does_not_count_training(store, seen):
    cells = plan(GRID, store)
    watch = Watch(cells, store, started=time.monotonic() - 1000)
    stages, explaining = Stages(store, Runtime("cpu")), cells[0].cell.explaining
    run(GRID, stages, "train")
    stages.predict(explaining.training)
    watch.look()
    assert time.monotonic() - watch.started < 10
    watch.started -= 100  # so long ago was the last look
    if seen == "running":
        (store.root / "locks").mkdir(exist_ok=True)
        with filelock.FileLock(store.root / "locks" / f"{explaining.key}.lock"):
            watch.look()
    run(dataclasses.replace(GRID, explainers=GRID.explainers[:1]), stages)
    assert watch.look().left == pytest.approx(100, rel=0.1)  # as much as was done


def test_what_was_cached_before_is_not_counted(store):
    run(dataclasses.replace(GRID, metrics=GRID.metrics[:1]), Stages(store, Runtime("cpu")))
    assert Watch(plan(GRID, store), store).look().cells == 2


def test_what_is_running_is_named_wherever_it_runs(store):
    cells = plan(GRID, store)
    watch = Watch(cells, store)
    key = cells[1].key
    (store.root / "locks").mkdir(parents=True)
    with filelock.FileLock(store.root / "locks" / f"{key}.lock"):
        assert store.computing() == {key}
        assert watch.look().running == ("scoring digits linear seed 0 gradient deletion",)
        assert not store.abandoned()
    (store.root / "explain" / f".{key[:12]}-half").mkdir(parents=True)
    assert not watch.look().running
    assert store.abandoned() == {key}
    assert not list(store.root.glob("*/.*"))
    assert not store.abandoned()


def test_a_failure_that_is_being_written_is_not_on_record(store):
    store.failures.record("a", Failure("a cell", "fell", "Traceback"))
    (store.failures.folder / ".b-0123.json").touch()
    assert store.failures.keys() == {"a"}


def test_every_key_has_a_name(store):
    found = names(plan(GRID, store))
    assert len(found) == 2 + 2 + 4
    assert sorted(text.split()[0] for text in found.values()) == ["explaining"] * 2 + ["predicting"] + ["scoring"] * 4 + ["training"]


@pytest.mark.parametrize("terminal", [True, False])
def test_the_view_is_shown_while_the_cells_are_computed(store, terminal, monkeypatch):
    monkeypatch.setattr(progress, "LOOK", 0.01)
    monkeypatch.setattr(progress, "TELL", 0.01)
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    with watching(plan(GRID, store), store, console):
        run(GRID, Stages(store, Runtime("cpu")))
        time.sleep(0.5)
    assert ("4/4" if terminal else "4 of 4 cells done, 0 failed, 0 running") in out.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h 0 min"), (3660 * 2, "2 h 2 min")])
def test_a_clock_is_read_at_a_glance(seconds, text):
    assert clock(seconds) == text
