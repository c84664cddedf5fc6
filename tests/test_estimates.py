"""Hours and bytes of a plan: the arithmetic by hand, nothing for what is cached, and bytes near those of real files."""

import pytest

from xaibench import estimates
from xaibench.bench import DIRECTIONS
from xaibench.datasets.digits import Digits
from xaibench.estimates import FOLDER, NAMES, Rate
from xaibench.execution import run
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.grid import Entry, Grid
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.linear import Linear
from xaibench.planning import plan
from xaibench.problem import Passes, Training
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Store
from xaibench.training import Trainer

CPU = Runtime("cpu", 1)
GRID = Grid(
    datasets=(Entry("digits", Digits()),),
    models=(Entry("linear", Linear()),),
    trainers=(Entry("trainer", Trainer(epochs=2)),),
    explain_on=(Entry("explain_on", ExplainOn(count=40, background=5)),),
    explainers=(Entry("gradient", Gradient()), Entry("integrated_gradients", IntegratedGradients(steps=3))),
    metrics=(Entry("deletion", Deletion(steps=4)), Entry("sparseness", Sparseness())),
    seeds=(0, 1),
)
RATES = dict.fromkeys(estimates.pairs(GRID), Rate(forward=100.0, both=20.0))


def by_stage(store):
    return {each.stage: each for each in estimates.estimates(GRID, plan(GRID, store), store, RATES)}


def test_the_way_back_takes_what_both_take_beyond_forward():
    assert Rate(forward=100.0, both=20.0).hours(Passes(360_000, 0)) == pytest.approx(1)
    assert Rate(forward=100.0, both=20.0).hours(Passes(0, 360_000)) == pytest.approx(4)
    assert Rate(forward=100.0, both=20.0).hours(Passes(360_000, 360_000)) == pytest.approx(5)


def test_passes_and_bytes_follow_from_shapes(tmp_path):
    found = by_stage(Store(tmp_path))
    assert {stage: each.results for stage, each in found.items()} == {"train": 2, "helpers": 0, "predict": 2, "explain": 4, "evaluate": 8}
    assert found["train"].passes == Passes(2 * 2 * 1077, 2 * 2 * 2 * 1077)
    assert found["train"].storage == 2 * (4 * (64 * 10 + 10) + FOLDER)
    assert found["predict"].storage == 2 * (540 * 10 * 4 + FOLDER)
    assert found["explain"].passes == Passes(2 * (40 * (1 + 3 + 1) + 1), 2 * 40 * (1 + 3))
    assert found["explain"].storage == 4 * (40 * 64 * 4 + 40 * 16 + FOLDER)
    assert found["evaluate"].passes == Passes(2 * 2 * 40 * 5)
    assert found["evaluate"].storage == 4 * (40 * 4 * (NAMES + 5) + 40 * 4 * NAMES) + 8 * (40 * 16 + FOLDER)
    assert found["evaluate"].hours == pytest.approx(2 * 2 * 40 * 5 / 100 / 3600)


def test_given_weights_are_not_trained(monkeypatch):
    monkeypatch.setattr(Linear, "fixed", True)
    found = estimates._training(Training(Digits(), Linear(), Trainer(epochs=2), 0))
    assert found == (Passes(), 4 * (64 * 10 + 10))
    classifier = Training(Digits(), Linear(), Trainer(epochs=2), 0)
    again = estimates._training(Training(Digits(), Linear(), Trainer(epochs=2), 0, origin=classifier))
    assert again[0] == Passes(2 * 1077, 2 * 2 * 1077)  # a helper of its architecture is


def test_what_is_cached_takes_nothing_and_real_files_are_as_large(tmp_path):
    store = Store(tmp_path / "store")
    before = by_stage(store)
    run(GRID, Stages(store, CPU), tmp_path / "failures")
    after = by_stage(store)
    assert all(each.results == each.storage == each.hours == 0 for each in after.values())
    for stage in ("explain", "evaluate"):
        real = sum(path.stat().st_size for path in (store.root / stage).rglob("*") if path.is_file())
        assert 0.5 < before[stage].storage / real < 2, stage


def test_each_classifier_is_measured_in_both_directions(monkeypatch):
    asked = []

    def passing(problem, direction, chunk, layout):
        asked.append((direction, chunk))
        return lambda: problem.classifier(problem.images)

    monkeypatch.setattr(estimates, "passing", passing)
    monkeypatch.setattr(estimates, "seconds", lambda *_: 2.0)
    ((pair, rate),) = estimates.measured(GRID, CPU).items()
    assert pair == (Digits(), Linear())
    assert [direction for direction, _ in asked] == list(DIRECTIONS)
    assert rate == Rate(asked[0][1] / 2, asked[0][1] / 2)
