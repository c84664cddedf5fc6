"""`xaibench bench explainers`: tables, overrides, peers, memory in processes, and what it refuses."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from cli_cases import isolated

from xaibench.cli.bench_tables import significant
from xaibench.cli.main import main

SMALL = ("--dataset", "digits", "--model", "conv16_conv32_gap", "--images", "8", "--repeats", "1", "--threads", "1", "trainer.epochs=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bench")


def bench(folder: Path, *arguments: str) -> int:
    with isolated():
        return main(["bench", "explainers", *SMALL, "--out", str(folder / "out"), f"runtime.store={folder / 'store'}", *arguments])


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "out" / f"{name}.csv").set_index("explainer" if name != "throughput" else "direction")


def test_speed_and_peers(folder, capsys):
    names = "gradient,smoothgrad,sobel"
    assert bench(folder, "--explainers", names, "--peers", "smoothgrad.samples=5", "smoothgrad.noise=0.2") == 0
    found = read(folder, "explainers")
    label = "smoothgrad[samples=5, noise=0.2]"
    assert list(found.index) == ["gradient", label, "sobel"]
    assert found.loc[label, ["forward", "backward"]].tolist() == [5, 5]
    assert found["ratio"].notna().tolist() == [True, True, False]
    assert (found["images_per_second"] > 0).all()
    assert found["images"].tolist() == [8, 8, 8]
    peers = read(folder, "peers")
    assert list(peers.index) == ["gradient", label]
    assert peers.loc["gradient", "difference"] < 1e-5
    assert 0 < peers.loc[label, "our_error"] < 2
    assert len(read(folder, "throughput")) == 2
    printed = capsys.readouterr().out
    page = (folder / "out" / "explainers.md").read_text()
    assert all(
        text in page for text in (label, "## Explainers: conv16_conv32_gap on digits", "## Peers", "## Throughput", "captum Saliency")
    )
    assert "ratio to the limit" in printed
    provenance = json.loads((folder / "out" / "explainers.provenance.json").read_text())
    assert provenance["threads"] == 1
    assert provenance["options"]["repeats"] == 1


def test_memory_in_processes_of_their_own(folder, monkeypatch):
    """Every number of images: one real process, and what the command line hands to the others."""
    real, commands = subprocess.run, []

    def run(command, **options):
        commands.append(command)
        count = command[command.index("--images") + 1]
        if "smoothgrad" in command and count == "20":
            return real(command, **options)
        return subprocess.CompletedProcess(command, 0, "noise\n" + json.dumps({"images": int(count), "memory": 1.5}), "")

    monkeypatch.setattr(subprocess, "run", run)
    arguments = ("--explainers", "smoothgrad,gradient", "--memory", "--memory-images", "20,40", "smoothgrad.samples=4")
    assert bench(folder, *arguments) == 0
    found = read(folder, "memory")
    label = "smoothgrad[samples=4]"
    assert list(found.index) == [label, label, "gradient", "gradient"]
    assert found["images"].tolist() == [20, 40] * 2
    assert round(found["results"].iloc[0] * 2**20) == 20 * 64 * 4
    assert found["memory"].iloc[1:].tolist() == [1.5] * 3
    own = [[text for text in command if text.startswith("smoothgrad.")] for command in commands]
    assert own == [["smoothgrad.samples=4"]] * 2 + [[]] * 2
    assert "Memory" in (folder / "out" / "memory.md").read_text()


def test_an_explainer_that_fails_does_not_stop_the_others(folder, capsys, monkeypatch, caplog):
    def fail(*_arguments):
        raise RuntimeError("no such luck")

    monkeypatch.setattr("xaibench.explainers.gradient.Gradient.__call__", fail)
    assert bench(folder, "--explainers", "gradient,saliency") == 1
    found = read(folder, "explainers")
    assert found.loc["gradient", "skipped"] == "failed: RuntimeError: no such luck"
    assert found.loc["saliency", "images_per_second"] > 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (39750.4, "39,750"),
        (123.4, "123"),
        (12.345, "12.3"),
        (9.999, "10.00"),
        (0.012345, "0.0123"),
        (2.0, "2"),
        (0.0, "0"),
        (-1.25, "-1.25"),
    ],
)
def test_numbers_are_rounded_to_three_digits(value, text):
    assert significant(value) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--explainers", "gradiant"), "gradiant"),
        (("--explainers", "gradient", "smoothgrad.samples=5"), "expected a field of a chosen explainer"),
        (("--explainers", "smoothgrad", "smoothgrad.sample=5"), "did you mean 'samples'"),
        (("--explainers", "smoothgrad", "smoothgrad.samples=0"), "samples=0"),
        (("--dataset", "digitz"), "digitz"),
        (("trainer.epoch=1",), "trainer.epoch"),
    ],
)
def test_errors_come_before_anything_is_trained(arguments, message, tmp_path, capsys):
    assert bench(tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_growth_of_influence(folder, capsys):
    given = ["--dataset", "digits", "--model", "linear", "--images", "400,800", "--pixels", "32,64", "--taus", "2,4", "--resamples", "5,10"]
    more = ["--turns", "1", "--threads", "1", "--out", str(folder / "influence"), f"runtime.store={folder / 'store'}", "trainer.epochs=1"]
    with isolated():
        assert main(["bench", "influence", *given, *more]) == 0
    table = pd.read_csv(folder / "influence" / "influence.csv")
    assert list(table["axis"]) == [axis for axis in ("images", "pixels", "taus", "resamples") for _ in range(2)]
    assert table["growth"].isna().tolist() == [True, False] * 4
    second = table.loc[7]
    assert second["growth"] == pytest.approx(second["seconds"] / table.loc[6, "seconds"] / 2, rel=1e-2)
    assert second[["images", "pixels", "taus", "resamples"]].tolist() == [1617, 64, 2, 10]
    assert "| resamples | 10 |" in (folder / "influence" / "influence.md").read_text()
    assert "1 is linear" in " ".join(capsys.readouterr().out.split())
