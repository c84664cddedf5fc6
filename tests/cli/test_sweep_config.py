"""`xaibench sweep-config`: the command lines that W&B's agents make of it compose, and together they are the grid."""

import itertools
import math
import os
import re

import pytest
import yaml
from cli_cases import OutOfTree, isolated

from xaibench.cli.compose import composed
from xaibench.cli.main import main
from xaibench.cli.request import Request
from xaibench.cli.sweep_config import _value


def config(capsys, *given):
    with isolated():
        assert main(["sweep-config", *given]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def lines(found):
    """The command line of each of the sweep's jobs, as W&B's agent fills it in."""
    assert (found["program"], found["method"]) == ("xaibench", "grid")
    names, values = list(found["parameters"]), [item["values"] for item in found["parameters"].values()]
    for combination in itertools.product(*values):
        arguments = [f"{name}={value}" for name, value in zip(names, combination, strict=True)]
        parts = {"${env}": ["/usr/bin/env"], "${program}": [found["program"]], "${args_no_hyphens}": arguments}
        yield [word for chunk in found["command"] for word in parts.get(chunk, [chunk])]


def keys(argv):
    grid, _ = composed(Request(argv))
    return [cell.key for cell in grid.cells()]


GRIDS = [
    ("experiment=quickstart", "explainer=gradient,lime", "tracker=wandb", "tracker.mode=offline", "seed=2"),
    ("explainer=glob(grad_cam*)", "metric=deletion,sparseness", "metric.pooling=sum,abs_sum", "draw=0,1", "explain_on.count=5"),
    ("explainer=integrated_gradients", "explainer.steps=10,50", "trainer.learning_rate=1e-3,0.01"),
    ("model=conv16_conv32_gap,mlp", "explainer=random", "trainer.epochs=1", "explain_on.targets=[0,1],all", "metric=suite/complexity"),
    ("explainer=variant/integrated_gradients_smoothgrad,random", "explain_on.per_class=null,2"),
]


@pytest.mark.parametrize("given", GRIDS, ids=" ".join)
def test_the_jobs_of_the_sweep_are_those_of_the_grid(given, capsys):
    found = config(capsys, *given)
    made = [keys(line[line.index("run") + 1 :]) for line in lines(found)]
    expected = keys(list(given))
    assert sorted(itertools.chain(*made)) == sorted(expected)
    assert len(made) == math.prod(len(values) for values in Request(list(given)).axes().values())
    assert len(expected) > len(made) or len(composed(Request(list(given)))[0].metrics) == 1


def test_parameters_are_the_axes_and_metrics_stay_together(capsys):
    found = config(capsys, "-m", "explainer=gradient,lime", "metric=deletion,insertion", "seed=0,1", "runtime.threads=1", "--name", "mine")
    assert found["name"] == "mine"
    assert {name: item["values"] for name, item in found["parameters"].items()} == {
        "dataset": ["digits"],
        "model": ["conv16_conv32_gap"],
        "explainer": ["gradient", "lime"],
        "seed": [0, 1],
    }
    assert found["command"][3:5] == ["metric=deletion,insertion", "runtime.threads=1"]


def test_a_job_runs_and_writes_into_a_folder_of_its_own(bench, tmp_path, capsys, monkeypatch):
    with isolated():
        assert (
            main(
                [
                    "sweep-config",
                    *bench.arguments("explainer=random", "metric=sparseness", "seed=0,1"),
                    "--out",
                    str(tmp_path / "a" / "s.yaml"),
                ]
            )
            == 0
        )
    assert "wandb sweep" in capsys.readouterr().out
    found = yaml.safe_load((tmp_path / "a" / "s.yaml").read_text())
    for number, line in enumerate(lines(found)):
        monkeypatch.setenv("WANDB_RUN_ID", f"job{number}")
        with isolated():
            assert main(line[line.index("run") :]) == 0
        assert (bench.results / "runs" / os.environ["WANDB_RUN_ID"] / "table.csv").is_file()
    assert bench.made()["evaluate"] == 2


@pytest.mark.parametrize(
    ("text", "value"), [("7", 7), ("0.01", 0.01), ("null", "null"), ("true", "true"), ("[0,1]", "[0,1]"), ("1:30", "1:30"), ("1_0", "1_0")]
)
def test_numbers_are_numbers_and_all_else_stays_text(text, value):
    assert _value(text) == value
    assert type(_value(text)) is type(value)


def test_a_study_that_is_named_keeps_its_name(capsys):
    assert not [word for word in config(capsys, "study=mine", "seed=0,1")["command"] if "runs/" in word]


def test_configuration_from_elsewhere(capsys, out_of_tree: OutOfTree):
    code = "from xaibench.explainers.sobel import Sobel\n\n\nclass Mine(Sobel):\n    pass\n"
    out_of_tree.add("explainer", "mine", "mine_of_the_sweep.Mine", code)
    found = config(capsys, "explainer=mine,random", *out_of_tree.flags)
    assert [len(keys(line[line.index("run") + 1 :])) for line in lines(found)] == [1, 1]


def test_mistakes_are_told_now(capsys):
    with isolated():
        assert main(["sweep-config", "explainer=integrated_gradients", "explainer.stps=1,2"]) == 2
    assert re.search(r"stps=.*did you mean 'steps'", capsys.readouterr().err)
