"""Help, lists, the composed configuration and completion."""

import os
import subprocess
import sys
import time

import pytest
from cli_cases import Bench, isolated

from xaibench.cli.main import COMMANDS, main
from xaibench.configuration import conf_folder
from xaibench.datasets.digits import Digits


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def say(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with isolated():
        try:
            status = main(list(argv))
        except SystemExit as stop:  # argparse's --help
            status = int(stop.code or 0)
    assert status == 0
    return capsys.readouterr().out


def test_help_names_every_command(capsys):
    found = say(capsys, "--help")
    assert all(f"  {command} " in found for command in COMMANDS)
    assert say(capsys) == found


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command, capsys):
    assert command in say(capsys, command, "--help")


def test_help_of_run_shows_groups_and_examples(capsys):
    found = say(capsys, "run", "--help")
    assert all(f"{group}: " in found for group in ("dataset", "model", "trainer", "explainer", "metric", "experiment"))
    assert all(name in found for name in [*names("explainer"), *names("metric")])
    assert "xaibench run -m" in found


def test_help_is_fast_and_loads_neither_torch_nor_hydra():
    code = "import sys; from xaibench.cli.main import main; main(['--help']); print(sorted({'torch', 'hydra', 'numpy'} & set(sys.modules)))"
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
        seconds.append(time.perf_counter() - start)
        assert found.stdout.splitlines()[-1] == "[]"
    assert min(seconds) < 0.7


def test_cfg_shows_every_metric_of_the_job(capsys):
    found = say(capsys, "run", "metric=deletion,sparseness", "metric.pooling=max", "explainer=random", "--cfg", "job")
    metrics = found.partition("metrics:")[2]
    assert "xaibench.metrics.deletion.Deletion" in metrics
    assert "xaibench.metrics.sparseness.Sparseness" in metrics
    assert metrics.count("pooling: max") == 2
    assert "xaibench.explainers.random.Random" in found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dataset=", [f"dataset={name}" for name in names("dataset")]),
        ("dataset=di", ["dataset=digits"]),
        ("metric=del", ["metric=deletion"]),
        ("experiment=quick", ["experiment=quickstart"]),
    ],
)
def test_completion(line, expected, capsys, monkeypatch):
    typed = f"xaibench run {line}"
    monkeypatch.setenv("COMP_LINE", typed)
    monkeypatch.setenv("COMP_POINT", str(len(typed)))
    assert sorted(say(capsys, "-sc", "query=bash").split()) == expected


def test_list_shows_every_component_and_experiment(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    found = say(capsys, "list")
    for name in ("own/image_folder", "own/npz", "own/checkpoint"):
        assert name in found
    for group in ("dataset", "model", "trainer", "explainer", "metric", "experiment"):
        assert all(name in found for name in names(group)), group


def test_a_list_can_be_read_in_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    found = say(capsys, "list", "metrics")
    assert len(found.splitlines()) < 1000
    assert "family: faithfulness; better: lower" in found
    assert "accuracy_vs_saturation_all" in say(capsys, "list", "experiments")


def test_list_of_one_group_and_of_an_unknown_one(capsys):
    found = say(capsys, "list", "metrics")
    assert "deletion" in found
    assert "grad_cam" not in found
    assert main(["list", "metricks"]) == 2
    assert "expected one of" in capsys.readouterr().err


def test_doctor_tells_versions_and_data(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XAIBENCH_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.retrieve", lambda *_args, **_named: (_ for _ in ()).throw(ConnectionError("no network")))
    found = say(capsys, "doctor", f"runtime.store={tmp_path / 'store'}")
    assert "torch" in found
    arrays = Digits().load()
    assert "verified: " + " + ".join(str(len(part.labels)) for part in (arrays.train, arrays.validation, arrays.test)) in found
    assert "no network" in found


def test_table_draws_a_study_again_from_its_folder(bench: Bench, capsys):
    assert bench.run("explainer=gradient", "metric=deletion", "figures=[maps]").status == 0
    folder = bench.results / "sweep"
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in [*folder.glob("table.*"), *folder.glob("*.png")]:
        path.unlink()
    found = say(capsys, "table", "sweep", "--results", str(bench.results))
    assert "gradient" in found
    again = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: again[name] for name in kept if name.startswith("table.")} == {n: b for n, b in kept.items() if n.startswith("table.")}
    assert again.keys() >= kept.keys()
    assert say(capsys, "table", "sweep", "--results", str(bench.results), "--score", "tied", "--no-figures") != found
    assert main(["table", "sweep", "--results", str(bench.results), "--score", "none"]) == 2


def test_help_for_what_cannot_be_composed_is_one_line(tmp_path):
    outcome = Bench(tmp_path).typed("run", "--help", "model.weights=a,b")
    assert outcome.status == 2
    assert outcome.err.startswith("error: Ambiguous value for argument 'model.weights=a,b'")
    assert "Traceback" not in outcome.err
