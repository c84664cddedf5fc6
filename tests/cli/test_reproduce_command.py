"""`xaibench reproduce`: a study run again, beside its committed numbers; and the smoke version of every study."""

import tempfile

import pandas as pd
import pytest
from cli_cases import Bench, OutOfTree

from xaibench.cli.compose import composed
from xaibench.cli.request import Request
from xaibench.cli.smoke import BUDGETS, reduced
from xaibench.component import Component
from xaibench.configuration import conf_folder
from xaibench.problem import Family

STUDY = """# @package _global_
study: again
grid:
  explainer: [gradient, integrated_gradients, sobel, random]
  metric: [deletion, insertion, sparseness]
  seed: [0, 1]
  trainer.epochs: 2
explain_on: {count: 6, background: 10}
runtime: {threads: 1, device: cpu}
figures: []
claims:
  - _target_: xaibench.claims.published_scores.PublishedScores
    topic: Beside the published scores
    metric: deletion
    explainers: [gradient, integrated_gradients, sobel]
    values: [0.1, 0.2, 0.3]
reference:
  conv16_conv32_gap: {digits: 0.5}
"""


@pytest.fixture
def study(bench: Bench, out_of_tree: OutOfTree, monkeypatch: pytest.MonkeyPatch):
    """A study with its results."""
    monkeypatch.setattr(tempfile, "tempdir", str(bench.folder))
    (out_of_tree.conf / "experiment").mkdir()
    (out_of_tree.conf / "experiment" / "again.yaml").write_text(STUDY)
    own = Bench(bench.folder, ())
    assert own.run("experiment=again", *out_of_tree.flags).status == 0

    def reproduce(*given):
        places = (f"runtime.results={own.results}", f"runtime.store={own.store.root}")
        return own.typed("reproduce", "again", *places, *given, *out_of_tree.flags)

    return own, reproduce


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def move(bench, study="again", by=100.0):
    path = bench.results / study / "table.csv"
    table = pd.read_csv(path)
    table.loc[table["explainer"] == "sobel", ["mean", "low", "high"]] += by
    table.to_csv(path, index=False)


def test_the_same_numbers_from_the_store_and_from_nothing(study):
    bench, reproduce = study
    before, stored = contents(bench.results), bench.written()
    for given in ((), ("--fresh",)):
        outcome = reproduce(*given)
        assert outcome.status == 0, outcome.out + outcome.err
        assert "0 moved, 0 vanished, 0 appeared" in outcome.out
        assert "reproduced: nothing moved" in outcome.out
        assert "Beside the published scores" in outcome.out
        assert "| 50.00 |" in outcome.out  # the published accuracy
        assert ("24 done, 0 cached" if given else "0 done, 24 cached") in outcome.out
    assert contents(bench.results) == before
    assert bench.written() == stored


def test_what_moved_or_vanished_is_told_and_the_new_files_are_kept(study):
    bench, reproduce = study
    move(bench)
    outcome = reproduce()
    assert outcome.status == 1
    assert "not reproduced" in outcome.out
    assert "sobel" in outcome.out
    assert "100" in outcome.out
    kept = outcome.out.splitlines()[-1].rpartition(" ")[2]
    assert len(pd.read_csv(f"{kept}/again/table.csv")) == len(pd.read_csv(bench.results / "again" / "table.csv"))


def test_smoke_tells_other_files_and_columns_but_no_numbers(study):
    bench, reproduce = study
    stored = bench.written()
    move(bench)
    outcome = reproduce("--smoke")
    assert outcome.status == 0, outcome.out + outcome.err
    assert "12 done, 0 cached" in outcome.out
    assert bench.written() == stored
    path = bench.results / "again" / "cost.csv"
    pd.read_csv(path).drop(columns="forward").to_csv(path, index=False)
    (bench.results / "again" / "new.csv").write_text("a,b\n")
    outcome = reproduce("--smoke")
    assert outcome.status == 1
    assert "cost.csv: columns gone: none; new: forward" in outcome.out
    assert "new.csv: not written" in outcome.out


def test_mistakes(study):
    _, reproduce = study
    outcome = reproduce("explainer=lime")
    assert outcome.status == 2
    assert "explainer=lime: expected runtime.NAME=VALUE" in outcome.err
    outcome = reproduce("runtime.results=/nowhere")
    assert outcome.status == 2
    assert "expected its results in /nowhere/again" in outcome.err


def sizes(component: Component):
    """All budgets of a component and its parts."""
    for name, value in vars(component).items():
        if isinstance(value, Component):
            yield from sizes(value)
        elif name in BUDGETS and isinstance(value, int):
            yield name, value


@pytest.mark.parametrize("study", sorted(path.stem for path in (conf_folder() / "experiment").glob("*.yaml")))
def test_every_study_has_a_tiny_version(study):
    grid, _ = composed(Request([f"experiment={study}"]))
    small = reduced(grid)
    assert small.seeds == grid.seeds[:2]
    assert len(small.draws) == len(small.models) == len(small.datasets) == len(small.explain_on) == 1
    assert len(small.explainers) <= 3
    assert len(small.metrics) <= 2
    assert small.trainers[0].component.epochs == 1
    chosen = small.explain_on[0].component
    assert chosen.count <= 4
    assert chosen.indices is None or len(chosen.indices) <= 4
    too_much = [
        (entry.name, name, value)
        for entry in (*small.datasets, *small.explainers, *small.metrics, *small.influences)
        for name, value in sizes(entry.component)
        if value > BUDGETS[name]
    ]
    assert too_much == []
    assert len(set(small.explainers)) == len(small.explainers)
    controls = [[entry for entry in one.explainers if entry.component.family is Family.CONTROL] for one in (grid, small)]
    assert bool(controls[1]) == bool(controls[0])  # what is made beside controls is made
