"""How a grid is divided into jobs: phases in order, shares worth starting, nothing that is there, nothing that failed."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from xaibench.datasets.digits import Digits
from xaibench.execution import retry, run
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.random import Random
from xaibench.failures import Failure
from xaibench.grid import Entry, Grid
from xaibench.identity import predict_key
from xaibench.jobs import _shares, batches
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.f_fidelity import FFidelity
from xaibench.metrics.roar import Roar
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.linear import Linear
from xaibench.planning import helpers, plan
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Store
from xaibench.training import Trainer

GRID = Grid(
    datasets=(Entry("digits", Digits()),),
    models=(Entry("linear", Linear()),),
    trainers=(Entry("auto", Trainer(epochs=1)),),
    explain_on=(Entry("explain_on", ExplainOn(count=4)),),
    explainers=(Entry("gradient", Gradient()), Entry("random", Random()), Entry("ig", IntegratedGradients(steps=500))),
    metrics=(Entry("sparseness", Sparseness()), Entry("deletion", Deletion(steps=3)), Entry("deletion_2", Deletion(steps=4))),
    seeds=(0, 1),
)
SMALL, LARGE = 1, 10**9


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def jobs(grid: Grid, store: Store, passes: int) -> list[tuple[str, tuple[int, ...], str, str]]:
    """Phase, seeds, explainers and metrics of each job."""
    found = []
    for job in itertools.chain(*batches(grid, plan(grid, store), store, passes)):
        chosen = (",".join(entry.name for entry in entries) for entries in (job.grid.explainers, job.grid.metrics))
        found.append((job.phase, job.grid.seeds, *chosen))
    return found


def test_an_empty_store_lacks_everything_and_large_jobs_hold_all_of_a_classifier(store):
    every = "sparseness,deletion,deletion_2"
    assert jobs(GRID, store, LARGE) == [
        *(("train", (seed,), "", "") for seed in (0, 1)),
        *(("explain", (seed,), "gradient,random,ig", "sparseness") for seed in (0, 1)),
        *(("evaluate", (seed,), "gradient,random,ig", every) for seed in (0, 1)),
    ]


def test_small_jobs_split_an_explainers_metrics(store):
    found = jobs(GRID, store, SMALL)
    assert found.count(("explain", (0,), "ig", "sparseness")) == 1
    assert sum(job[0] == "evaluate" for job in found) == 2 * 3 * 3
    assert ("evaluate", (1,), "random", "deletion_2") in found


def test_shares_take_what_they_must_before_the_next_begins(store):
    one = dataclasses.replace(GRID, seeds=(0,))
    explained = [job[2] for job in jobs(one, store, passes=2000) if job[0] == "explain"]
    assert explained == ["gradient,random", "ig"]  # 1,008 and 1,000 make a share; ig has one of its own
    first = dataclasses.replace(one, explainers=GRID.explainers[::-1])
    assert [job[2] for job in jobs(first, store, passes=3000) if job[0] == "explain"] == ["ig", "random,gradient"]
    assert list(_shares({"a": 2, "b": 1, "c": 3, "d": 1}, 3)) == [["a", "b"], ["c"], ["d"]]


def test_an_explainer_with_less_than_two_shares_is_not_split(store):
    one = dataclasses.replace(GRID, seeds=(0,))  # 3,000 and the passes of two deletions for each explainer
    scored = [job[2:] for job in jobs(one, store, passes=2000) if job[0] == "evaluate"]
    assert scored == [(name, "sparseness,deletion,deletion_2") for name in ("gradient", "random", "ig")]


def test_only_what_the_store_lacks_has_jobs(store):
    run(dataclasses.replace(GRID, seeds=(0,), metrics=GRID.metrics[:2]), Stages(store, Runtime("cpu")))
    found = jobs(GRID, store, LARGE)
    assert [job for job in found if job[1] == (0,)] == [("evaluate", (0,), "gradient,random,ig", "deletion_2")]
    run(GRID, Stages(store, Runtime("cpu")))
    assert jobs(GRID, store, LARGE) == []
    store.remove("explain", plan(GRID, store)[0].cell.explaining.key)
    assert jobs(GRID, store, LARGE) == [("explain", (0,), "gradient", "sparseness")]
    store.failures.record(plan(GRID, store)[0].cell.explaining.key, Failure("an explanation", "fell", "Traceback"))
    assert jobs(GRID, store, LARGE) == []


def test_what_failed_has_no_jobs(store):
    cells = plan(GRID, store)
    for item in cells:
        if item.cell.explainer.name == "ig":
            store.failures.record(item.key, Failure("a cell", "fell", "Traceback"))
            store.failures.record(item.cell.explaining.key, Failure("an explanation", "fell", "Traceback"))
    assert all("ig" not in job[2] for job in jobs(GRID, store, LARGE))
    store.failures.record(predict_key(cells[0].cell.training)[0], Failure("a classifier", "fell", "Traceback"))
    assert [job[1] for job in jobs(GRID, store, LARGE) if job[0] == "train"] == [(1,)]


def test_a_network_that_several_explanations_need_is_trained_before_them(store):
    metrics = (Entry("f_fidelity", FFidelity(epochs=1, steps=2, samples=2)), Entry("roar", Roar(fractions=(0.5,))))
    grid = dataclasses.replace(GRID, explainers=GRID.explainers[:2], metrics=metrics, seeds=(0,))
    found = jobs(grid, store, LARGE)
    further = [("train", (0,), "gradient", "f_fidelity"), ("train", (0,), "gradient", "roar")]  # its control at random
    assert found[:3] == [("train", (0,), "", ""), *further]
    assert [job[0] for job in found[3:]] == ["explain", "evaluate"]
    job = list(batches(grid, plan(grid, store), store, LARGE))[1][0]
    run(job.grid, Stages(store, Runtime("cpu")), job.phase)
    shared = helpers(plan(job.grid, store))
    assert shared
    assert all(store.has("train", key) for key in shared)
    assert not store.keys("explain")
    assert [job[0] for job in jobs(grid, store, LARGE)] == ["train", "train", "explain", "evaluate"]


def test_a_failed_network_is_tried_again_with_its_cells(store):
    metrics = (Entry("f_fidelity", FFidelity(epochs=1, steps=2, samples=2)),)
    grid = dataclasses.replace(GRID, explainers=GRID.explainers[:1], metrics=metrics, seeds=(0,))
    (cell,) = plan(grid, store)
    (key,) = helpers([cell])
    for name in (key, cell.key):
        store.failures.record(name, Failure("a network", "fell", "Traceback"))
    cells = plan(grid, store)
    assert [item.status for item in cells] == ["failed"]
    retry(grid, cells, store)
    assert not store.failures.keys()


def test_a_grid_of_classifiers_has_jobs_that_train_them(store):
    grid = dataclasses.replace(GRID, explainers=(), metrics=())
    assert jobs(grid, store, LARGE) == [("train", (0,), "", ""), ("train", (1,), "", "")]
    run(grid, Stages(store, Runtime("cpu")))
    assert jobs(grid, store, LARGE) == []
