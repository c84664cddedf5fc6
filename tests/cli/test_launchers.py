"""The same command with other launchers: the same tables, each result computed once, and a worker that dies takes only its cell with it."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from cli_cases import Bench
from test_processes import COUNTING, start, told

LAUNCHERS = {
    "basic": (),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra/launcher=submitit_local", "runtime.jobs=2"),
    "ray": ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"),
}
GIVEN = ("-m", "model=linear,mlp", "explainer=counting", "explainer.number=0,1,2", "metric=counting_metric,deletion")

KILLING = '''
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from xaibench.explainers.gradient import Gradient


@dataclass(frozen=True)
class Killing(Gradient):
    """Takes its process with it, so many times."""

    times: int = 1

    def __call__(self, problem, rng):
        marks = Path(os.environ["TOLD"])
        marks.mkdir(exist_ok=True)
        died = len(list(marks.iterdir()))
        if died < self.times:
            (marks / str(died)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(problem, rng)
'''

KILLING_MODEL = '''
import os
import signal
from dataclasses import dataclass

from torch import nn

from xaibench.problem import Model


class Network(nn.Linear):
    """Takes its process with it when it is trained."""

    def forward(self, images):
        if self.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images.flatten(1))


@dataclass(frozen=True)
class Killing(Model):
    """A linear network."""

    def build(self, image_shape, classes):
        return Network(64, classes)
'''


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, bytes]]:
    """Those of the launchers that were tested before."""
    return {}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_all_launchers_give_the_same_tables_and_compute_each_result_once(name, tables, bench, out_of_tree):
    if name == "ray":
        pytest.importorskip("ray", reason="xaibench[ray] is not installed")
    out_of_tree.add("explainer", "counting", "counting.Counting", COUNTING)
    out_of_tree.add("metric", "counting_metric", "counting.CountingMetric", COUNTING)
    process = start(bench, out_of_tree, (*out_of_tree.flags, *GIVEN, *LAUNCHERS[name]))
    printed = process.communicate()[0]
    assert process.returncode == 0, printed
    assert "12 done, 0 cached, 0 skipped, 0 failed of 12 cells" in printed
    assert told(bench) == ["evaluate"] * 6 + [f"explain {number}" for number in (0, 1, 2) for _ in range(2)]
    assert bench.made() == {"train": 2, "predict": 2, "explain": 6, "evaluate": 12}
    assert not list(bench.store.root.glob("locks/*"))
    tables[name] = bench.tables()
    assert len({tuple(found.items()) for found in tables.values()}) == 1


def test_a_launcher_that_fails_and_leaves_everything_as_it_was_is_not_asked_a_third_time(bench, monkeypatch):
    asked = []

    def launch(*given: object) -> Exception:
        asked.append(given)
        return RuntimeError("invalid partition specified")

    monkeypatch.setattr("xaibench.cli.launch._launch", launch)
    with pytest.raises(RuntimeError, match="invalid partition"):
        bench.run("model=linear", "explainer=gradient", "metric=sparseness")
    assert len(asked) == 2
    assert not any(bench.made().values())


def test_jobs_that_end_well_and_leave_nothing_in_the_store_are_an_error(bench, monkeypatch):
    monkeypatch.setattr("xaibench.cli.launch._launch", lambda *given: None)
    outcome = bench.run("model=linear", "explainer=gradient", "metric=sparseness")
    assert outcome.status == 2
    assert "3 jobs ended without an error, and what they were to compute is not in" in outcome.err


def killed(bench: Bench, out_of_tree, times: int) -> tuple[int, str]:
    given = ("-m", "model=linear", "explainer=gradient,killing,saliency", "metric=sparseness")
    out_of_tree.add("explainer", "killing", "killing.Killing", KILLING.replace("times: int = 1", f"times: int = {times}"))
    process = start(bench, out_of_tree, (*out_of_tree.flags, *given, *LAUNCHERS["joblib"], "runtime.passes_per_job=1"))
    return process.wait(), process.communicate()[0]


def test_a_worker_that_dies_once_loses_nothing(bench, out_of_tree):
    status, printed = killed(bench, out_of_tree, times=1)
    assert status == 0, printed
    assert "what it left is launched again" in printed
    assert "3 done, 0 cached, 0 skipped, 0 failed of 3 cells" in printed


@pytest.mark.slow
def test_a_classifier_that_takes_its_worker_with_it_fails_alone(bench, out_of_tree):
    out_of_tree.add("model", "killing", "killing_model.Killing", KILLING_MODEL)
    given = ("-m", "model=killing,linear", "explainer=gradient,saliency", "metric=sparseness")
    process = start(bench, out_of_tree, (*out_of_tree.flags, *given, *LAUNCHERS["joblib"], "runtime.passes_per_job=1"))
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == 1, printed
    assert "2 done, 0 cached, 0 skipped, 2 failed of 4 cells" in printed
    assert "its process died, also when it was computed alone" in printed


@pytest.mark.slow
def test_what_takes_its_worker_with_it_again_fails_alone(bench, out_of_tree):
    status, printed = killed(bench, out_of_tree, times=100)
    assert status == 1, printed
    assert "2 done, 0 cached, 0 skipped, 1 failed of 3 cells" in printed
    assert "its process died, also when it was computed alone" in printed
    records = [json.loads(path.read_text()) for path in bench.store.failures.folder.iterdir()]
    assert any("explaining digits linear seed 0 killing" in record["cell"] for record in records)
    assert set(pd.read_csv(bench.results / "sweep" / "table.csv")["explainer"]) == {"gradient", "saliency"}
