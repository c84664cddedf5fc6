"""What happens when something goes wrong in the middle: other cells go on, it is said, and nothing is lost."""

import json

import pandas as pd
import pytest
from cli_cases import STAGES

FAILING = '''
from dataclasses import dataclass

from xaibench.explainers.gradient import Gradient


@dataclass(frozen=True)
class Failing(Gradient):
    """Fails."""

    def __call__(self, problem, rng):
        raise RuntimeError("the sky fell")
'''

DIVERGING = '''
from dataclasses import dataclass

import torch
from torch import nn

from xaibench.problem import Model


class Blow(nn.Module):
    """Finite until it is trained."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images):
        return self.layer(images.flatten(1)) / (0.0 if self.training else 1.0)


@dataclass(frozen=True)
class Diverging(Model):
    """Has a loss that is not finite."""

    def build(self, image_shape, classes):
        return Blow()
'''


def test_an_unsupported_explainer_is_skipped_with_its_reason(bench):
    outcome = bench.run("-m", "model=linear", "explainer=grad_cam,gradient", "metric=deletion")
    assert outcome.status == 0
    assert "1 done, 0 cached, 1 skipped, 0 failed of 2 cells" in outcome.out
    assert "skipped 1: deletion of grad_cam: the model has no 2D convolution" in outcome.out
    assert set(pd.read_csv(bench.results / "sweep" / "table.csv")["explainer"]) == {"gradient"}


def test_nothing_but_skipped_cells_is_no_success(bench):
    outcome = bench.run("model=linear", "explainer=grad_cam", "metric=deletion")
    assert outcome.status == 1
    assert "1 skipped" in outcome.out
    assert not any(bench.made().values())


def test_a_metric_that_cannot_score_an_explainer_is_skipped(bench):
    outcome = bench.run("explainer=gradient", "metric=completeness_error,sparseness")
    assert outcome.status == 0
    assert "1 done, 0 cached, 1 skipped" in outcome.out
    assert "skipped 1: completeness_error of gradient: does not claim completeness" in outcome.out


def test_a_model_too_small_for_one_dataset_is_skipped_in_a_sweep(bench):
    outcome = bench.run("-m", "model=linear,conv10_conv20_dense50", "explainer=gradient", "metric=sparseness")
    assert outcome.status == 0
    assert "1 done, 0 cached, 1 skipped" in outcome.out
    assert bench.made()["train"] == 1


def test_a_failing_explainer_does_not_stop_the_others(bench, out_of_tree):
    out_of_tree.add("explainer", "failing", "failing_explainer.Failing", FAILING)
    given = (*out_of_tree.flags, "-m", "explainer=failing,gradient", "metric=deletion,sparseness")
    outcome = bench.run(*given)
    assert outcome.status == 1
    assert "2 done, 0 cached, 0 skipped, 2 failed of 4 cells" in outcome.out
    assert "failed 2 x RuntimeError: the sky fell" in outcome.out
    assert "gradient" in outcome.out
    assert set(pd.read_csv(bench.results / "sweep" / "table.csv")["explainer"]) == {"gradient"}
    records = [json.loads(path.read_text()) for path in bench.store.failures.folder.iterdir()]
    assert len(records) == 3  # the explanation, and its two cells
    assert all("the sky fell" in item["message"] and "Traceback" in item["traceback"] for item in records)
    assert all("failing" in item["cell"] for item in records)


def test_what_turns_out_not_to_be_supported_is_told_as_skipped(bench, out_of_tree):
    code = FAILING.replace("RuntimeError", "UnsupportedError").replace(
        "from xaibench.explainers", "from xaibench.stages import UnsupportedError\nfrom xaibench.explainers"
    )
    out_of_tree.add("explainer", "failing", "skipping_explainer.Failing", code)
    outcome = bench.run(*out_of_tree.flags, "-m", "model=linear", "explainer=failing,gradient", "metric=sparseness")
    assert outcome.status == 0, outcome.out
    assert "digits linear seed 0 failing: skipped (" in " ".join((outcome.out + outcome.err).split())
    assert "skipped 1 x the sky fell" in outcome.out


def test_a_failed_metric_is_told_again_by_the_next_run(bench, out_of_tree):
    code = FAILING.replace("explainers.gradient import Gradient", "metrics.sparseness import Sparseness").replace(
        "(Gradient)", "(Sparseness)"
    )
    out_of_tree.add("metric", "failing", "failing_metric.Failing", code.replace("problem, rng", "problem, explanation, rng"))
    for done in ("1 done, 0 cached", "0 done, 1 cached"):
        outcome = bench.run(*out_of_tree.flags, "explainer=gradient", "metric=failing,sparseness")
        assert outcome.status == 1
        assert f"{done}, 0 skipped, 1 failed of 2 cells" in outcome.out
        assert "failed 1 x RuntimeError: the sky fell" in outcome.out
    told = bench("plan", *out_of_tree.flags, "explainer=gradient", "metric=failing,sparseness").out
    assert "failed 1: RuntimeError: the sky fell; retry=failed tries again" in told


def test_a_mended_explainer_is_computed_and_its_record_removed(bench, out_of_tree):
    out_of_tree.add("explainer", "failing", "mended_explainer.Failing", FAILING)
    given = (*out_of_tree.flags, "explainer=failing", "metric=sparseness")
    assert bench.run(*given).status == 1
    # The weather is not part of a key: the same code may succeed another time, but is not tried again without being asked.
    import mended_explainer

    mended_explainer.Failing.__call__ = mended_explainer.Gradient.__call__
    outcome = bench.run(*given)
    assert outcome.status == 1
    assert "0 done, 0 cached, 0 skipped, 1 failed of 1 cells" in outcome.out
    assert "failed 1 x RuntimeError: the sky fell" in outcome.out
    assert "retry=failed tries again" in outcome.out
    outcome = bench.run(*given, "retry=failed")
    assert outcome.status == 0, outcome.out
    assert not list(bench.store.failures.folder.iterdir())


def test_training_that_diverges_fails_all_its_cells_and_no_others(bench, out_of_tree):
    out_of_tree.add("model", "diverging", "diverging_model.Diverging", DIVERGING)
    outcome = bench.run(*out_of_tree.flags, "-m", "model=diverging,linear", "explainer=gradient,saliency", "metric=sparseness")
    assert outcome.status == 1
    assert "2 done, 0 cached, 0 skipped, 2 failed of 4 cells" in outcome.out
    assert "expected finite losses" in outcome.out
    assert bench.made()["train"] == 1


@pytest.mark.parametrize("stage", STAGES)
def test_a_damaged_result_is_computed_again_and_said_aloud(bench, stage):
    given = ("explainer=gradient", "metric=deletion", "figures=[maps]")
    assert bench.run(*given).status == 0
    tables, made, before = bench.tables(), bench.made(), bench.written()
    (key,) = bench.store.keys(stage)
    payload = bench.store.folder(stage, key) / "payload.safetensors"
    payload.write_bytes(payload.read_bytes()[:-1] + b"?")
    outcome = bench.run(*given)
    assert outcome.status == 0, outcome.out + outcome.err
    assert f"damaged result {stage}/{key[:12]}" in outcome.out + outcome.err
    assert bench.tables() == tables
    assert bench.made() == made
    assert bench.store.read(stage, key) is not None
    changed = {path for path, time in bench.written().items() if before[path] != time}
    assert changed == {path for path in before if f"/{stage}/" in path}


@pytest.mark.parametrize("stage", ["train", "explain"])
def test_a_deleted_result_is_computed_again(bench, stage):
    given = ("explainer=gradient", "metric=deletion")
    assert bench.run(*given).status == 0
    tables, made = bench.tables(), bench.made()
    (key,) = bench.store.keys(stage)
    (bench.store.folder(stage, key) / "spec.json").unlink()
    assert bench.counts(*given)[stage][:2] == (0, 1)
    assert bench.run(*given).status == 0
    assert bench.tables() == tables
    assert bench.made() == made


@pytest.mark.parametrize("retry", [[], ["retry=failed"]])
def test_a_damaged_record_is_tried_again(bench, out_of_tree, retry):
    out_of_tree.add("explainer", "failing", "damaged_record.Failing", FAILING)
    given = (*out_of_tree.flags, "-m", "explainer=failing,gradient", "metric=sparseness")
    assert bench.run(*given).status == 1
    records = sorted(bench.store.failures.folder.iterdir())
    for path, content in zip(records, ('{"cell": "', '{"cell": "a"}'), strict=True):
        path.write_text(content)
    assert bench.states(*given)["failing sparseness"] == "to do"
    outcome = bench.run(*given, *retry)
    assert outcome.status == 1
    assert outcome.err.count("damaged record") == len(records)
    assert "0 done, 1 cached, 0 skipped, 1 failed of 2 cells" in outcome.out
    assert all(bench.store.failures.of(path.stem) for path in records)
