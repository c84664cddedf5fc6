"""Mistakes that a user makes: one line that names field, value and expectation, a status that is not 0, and nothing is trained."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from cli_cases import Bench

from xaibench.datasets.mnist import Mnist
from xaibench.stages import arrays_of

NOT_FINITE = '''
from dataclasses import dataclass

import torch
from torch import nn

from xaibench.problem import Model


class Divide(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :10] / 0


@dataclass(frozen=True)
class NotFinite(Model):
    """Gives infinite and undefined logits."""

    def build(self, image_shape, classes):
        return Divide()
'''

MISTAKES = {
    "dataset=cifar": ["dataset=cifar", "one of", "digits"],
    "model=vgg": ["model=vgg", "one of", "resnet"],
    "explainer=gradcam": ["explainer=gradcam", "grad_cam", "did you mean"],
    "metric=delition": ["metric=delition", "did you mean 'deletion'"],
    "metric=suite/none_such": ["metric=suite/none_such", "one of"],
    "experiment=quick": ["experiment=quick", "quickstart"],
    "tracker=mlflow": ["mlflow"],
    "datset=digits": ["datset=digits", "did you mean 'dataset'"],
    "explainer.stps=4": ["explainer.stps=4", "did you mean 'steps'"],
    "metric.stps=4": ["metric.stps=4", "did you mean 'steps'"],
    "trainer.epochz=4": ["trainer.epochz=4", "did you mean 'epochs'"],
    "explain_on.cont=4": ["explain_on.cont=4", "did you mean 'count'"],
    "runtime.thread=1": ["runtime.thread", "threads"],
    "runtime.threads=many": ["runtime.threads", "many", "integer"],
    "runtime.threads=0": ["runtime.threads", "0", "integer"],
    "figures=[curve]": ["figures", "curve", "curves"],
    "explainer.steps=-1": ["steps=-1", "an integer and >= 1"],
    "explainer.steps=many": ["steps='many'", "an integer"],
    "explainer.output=logits": ["output='logits'", "one of logit, probability"],
    "metric.removal.value=2": ["value=2", "<= 1"],
    "explain_on.count=0": ["count=0", ">= 1"],
    "explain_on.targets=[10]": ["targets=(10,)", "below 10"],
    "explain_on.indices=[540]": ["explain_on.indices=(540,)", "below 540"],
    "seed=-1": ["seed=-1", ">= 0"],
    "seed=one": ["seed=one", "integers"],
    "draw=-1": ["draw=-1", ">= 0"],
    "model=conv10_conv20_dense50": ["model=conv10_conv20_dense50", "8"],
    "--config-dir=/nowhere": ["--config-dir", "/nowhere", "folder"],
}


def check_refused(bench: Bench, told: list[str], *given: str) -> None:
    outcome = bench.run(*given)
    assert outcome.status == 2, outcome.out
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    assert all(text in lines[0] for text in told), lines[0]
    assert not any(bench.made().values())


@pytest.mark.parametrize(("given", "told"), MISTAKES.items(), ids=list(MISTAKES))
def test_a_mistake_is_refused_in_one_line(bench, given, told):
    check_refused(bench, told, given)


def test_the_same_line_is_accepted_without_the_mistake(bench):
    given = ("explainer.steps=1", "metric.steps=4", "metric.removal.value=1", "explain_on.indices=[539]", "explain_on.targets=[9]")
    assert bench.run(*given).status == 0
    assert sum(bench.made().values()) == 4


@pytest.mark.parametrize("given", ["+budget.scoring=10,50", "runtime.threads=1,2", "study=a,b"])
def test_what_is_no_axis_of_a_grid_is_not_swept(bench, given):
    outcome = bench.run("-m", "explainer=gradient", "metric=sparseness", given)
    assert outcome.status == 2
    assert f"{given}: expected one value; a grid is swept over dataset, model, trainer, explainer, metric, explain_on" in outcome.err


def test_a_mistake_in_one_value_of_a_sweep_stops_it_before_it_starts(bench):
    check_refused(bench, ["steps=0"], "-m", "explainer.steps=2,0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(bench):
    check_refused(bench, ["runtime.device='cuda'", "expected"], "runtime.device=cuda")
    check_refused(bench, ["trainer.accelerator='gpu'", "expected a GPU"], "trainer=gpu")


def test_a_device_that_does_not_exist(bench):
    check_refused(bench, ["runtime.device='abacus'", "expected auto, cpu"], "runtime.device=abacus")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("trainer: {epochs: 1}", ["experiment=mine: trainer stands outside grid", "grid: {trainer: NAME, trainer.FIELD: VALUE}"]),
        ("explainer:\n  steps: 2", ["explainer stands outside grid"]),
        ("defaults: [{override /trainer: gpu}]", ["trainer stands outside grid"]),
        ("figurs: []", ["experiment=mine: figurs", "did you mean 'figures'"]),
    ],
)
def test_a_study_file_that_would_not_do_what_it_says(bench, out_of_tree, content, told):
    (out_of_tree.conf / "experiment").mkdir()
    (out_of_tree.conf / "experiment" / "mine.yaml").write_text(f"# @package _global_\nstudy: mine\ngrid: {{dataset: digits}}\n{content}\n")
    check_refused(bench, told, *out_of_tree.flags, "experiment=mine")


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_configuration_file_that_cannot_be_read(bench, out_of_tree, command):
    (out_of_tree.conf / "experiment").mkdir()
    (out_of_tree.conf / "experiment" / "broken.yaml").write_text("study: [")
    found = bench(command, *out_of_tree.flags, "experiment=broken")
    assert found.status == 2
    assert "broken.yaml" in found.err
    assert "line 1" in found.err


def test_an_empty_study_file(bench, out_of_tree):
    (out_of_tree.conf / "experiment").mkdir()
    (out_of_tree.conf / "experiment" / "empty.yaml").write_text("")
    check_refused(bench, ["experiment=empty", "the file is empty"], *out_of_tree.flags, "experiment=empty")


def test_a_model_that_gives_nan(bench, out_of_tree):
    out_of_tree.add("model", "not_finite", "not_finite_model.NotFinite", NOT_FINITE)
    check_refused(bench, ["model=not_finite", "finite logits", "NaN"], *out_of_tree.flags, "model=not_finite")


def test_no_data_and_no_network(bench, monkeypatch, tmp_path):
    arrays_of.cache_clear()

    def unreachable(*_args, **_named):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("pooch.retrieve", unreachable)
    monkeypatch.setenv("XAIBENCH_DATA", str(tmp_path))
    check_refused(bench, ["dataset=mnist", "XAIBENCH_DATA", str(tmp_path), "train-images", "not known"], "dataset=mnist")
    monkeypatch.delenv("XAIBENCH_DATA")
    check_refused(bench, ["XAIBENCH_DATA is not set", "download of https://"], "dataset=mnist")


def check_damaged_data(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays_of.cache_clear()
    file = folder / "mnist" / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-10])
    monkeypatch.setenv("XAIBENCH_DATA", str(folder))
    check_refused(bench, [str(file), "sha256", "truncated"], "dataset=mnist")


def test_truncated_data(bench, real_data, tmp_path, monkeypatch):
    shutil.copytree(Path(real_data) / "mnist", tmp_path / "data" / "mnist")
    check_damaged_data(bench, tmp_path / "data", monkeypatch)


def test_truncated_data_with_made_up_files(bench, tmp_path, monkeypatch):
    import gzip
    import hashlib

    import numpy as np

    def packed(*shape: int) -> bytes:
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        return gzip.compress(header + (np.arange(np.prod(shape)) % 10).astype(np.uint8).tobytes(), mtime=0)

    sizes = [(200, 28, 28), (200,), (50, 28, 28), (50,)]
    contents = dict(zip(Mnist.sha256, (packed(*size) for size in sizes), strict=True))
    monkeypatch.setattr(Mnist, "sha256", {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()})
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    for name, content in contents.items():
        (tmp_path / "data" / "mnist" / name).write_bytes(content)
    monkeypatch.setenv("XAIBENCH_DATA", str(tmp_path / "data"))
    arrays_of.cache_clear()
    whole = dataclasses.replace(Mnist(), validation=50).load()
    assert [len(split.labels) for split in (whole.train, whole.validation, whole.test)] == [150, 50, 50]
    check_damaged_data(bench, tmp_path / "data", monkeypatch)
    arrays_of.cache_clear()


@pytest.mark.parametrize("word", ["rnu", "plann"])
def test_an_unknown_command(bench, word):
    outcome = bench(word)
    assert outcome.status == 2
    assert "did you mean" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_table_of_an_unknown_study(tmp_path, capsys):
    from xaibench.cli.main import main

    assert main(["table", "nothing", "--results", str(tmp_path)]) == 2
    assert "study=nothing" in capsys.readouterr().err
