"""`xaibench bench size`: rows in processes of their own, what is resumed, bounds of memory and time, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from cli_cases import isolated

from xaibench import sizing
from xaibench.cli import bench_size, bench_size_probe
from xaibench.cli.main import main

SMALL = (
    *("--model", "conv16_conv32_gap", "--images", "4", "--passes", "20", "--threads", "1", "dataset.side=32"),
    *("dataset.train_images=8", "dataset.validation_images=4", "dataset.test_images=4", "explain_on.background=3"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("size")


def size(folder: Path, *arguments: str) -> int:
    with isolated():
        return main(["bench", "size", *SMALL, "--out", str(folder / "out"), f"runtime.store={folder / 'store'}", *arguments])


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "out" / f"{name}.csv").set_index("direction" if name == "throughput" else "name")


def in_this_process(monkeypatch, asked: list[str], stop_at: str = "") -> None:
    """Instead of processes; at `stop_at` one runs out of time."""

    def measured(argv, options, cases):
        monkeypatch.setattr(bench_size_probe, "limited", lambda *_: None)  # the limit is for good
        kinds = {kind: [label for each, label in cases if each == kind] for kind in bench_size.KINDS}
        benches = {kind: bench_size.narrowed(options, kind, labels) for kind, labels in kinds.items() if labels}
        asked.extend(f"{kind}:{label}" for kind, label in cases)
        found = bench_size_probe.probed(options, benches, cases) if benches else ()
        for case, rows in zip(cases, found, strict=True):
            yield case, [{"skipped": "stopped after 900 s"}] if ":".join(case) == stop_at else rows

    monkeypatch.setattr(bench_size, "measured", measured)


def test_one_real_process_measures_an_explainer(folder):
    assert size(folder, "--explainers", "gradient", "--metrics", "none") == 0
    row = read(folder, "explainers").loc["gradient"]
    assert (row["images"], row["forward"], row["backward"], row["usual"]) == (4, 1, 1, 2)
    assert min(row["seconds"], row["ratio"]) > 0
    throughput = read(folder, "throughput")
    assert list(throughput.index) == ["forward", "forward and backward"]
    assert (throughput["rate"] > 0).all()
    assert len(set(throughput["commit"])) == 1


def test_what_is_there_is_not_measured_again(folder, monkeypatch, capsys):
    asked: list[str] = []
    in_this_process(monkeypatch, asked, stop_at="explainers:sobel")
    chosen = ("--explainers", "gradient,lime,sobel,exact_shapley", "--metrics", "deletion,roar,pointing_game,sparseness")
    assert size(folder, *chosen) == 1
    assert asked == [
        *(f"explainers:{name}" for name in ("lime", "sobel", "exact_shapley")),
        *(f"metrics:{name}" for name in chosen[3].split(",")),
    ]
    explainers, metrics = read(folder, "explainers"), read(folder, "metrics")
    assert explainers.loc["lime", ["images", "forward", "reduced", "usual"]].tolist() == [1, 15, "samples=15", 1000]
    assert explainers.loc["sobel", "skipped"] == "stopped after 900 s"
    assert explainers.loc["exact_shapley", ["images", "forward", "reduced"]].tolist() == [1, 16, "superpixels.side=2"]
    assert metrics.loc["deletion", ["images", "forward", "reduced"]].tolist() == [1, 15, "steps=14"]
    assert metrics.loc["roar", "skipped"].endswith("networks (Conv16Conv32Gap) with all 8 training images first")
    assert metrics.loc[["pointing_game", "sparseness"], "images"].tolist() == [4, 4]
    page = (folder / "out" / "size.md").read_text()
    assert all(text in page for text in ("## Throughput: conv16_conv32_gap on large/photographs", "## Metrics", "samples=15", "seed 0"))
    asked.clear()
    in_this_process(monkeypatch, asked)
    assert size(folder, *chosen) == 0
    assert asked == ["explainers:sobel"]  # what failed
    asked.clear()
    assert size(folder, *chosen, "--images", "2") == 0
    assert len(asked) == 9  # another question


@pytest.mark.slow
def test_what_took_too_many_passes_is_measured_with_more(folder, monkeypatch):
    asked: list[str] = []
    in_this_process(monkeypatch, asked)
    chosen = ("--explainers", "score_cam,rise", "--metrics", "none", "--seconds", "100")
    assert size(folder, *chosen) == 0
    assert sizing.TOO_MANY == bench_size.TOO_MANY
    assert bench_size.TOO_MANY in read(folder, "explainers").loc["score_cam", "skipped"]
    asked.clear()
    assert size(folder, *chosen, "--passes", "50") == 0
    assert asked == ["explainers:score_cam"]
    found = read(folder, "explainers")
    assert found.loc["score_cam", ["images", "most"]].tolist() == [1, 50]
    assert found.loc["rise", "most"] == 20
    assert "at most 20 or 50 passes" in (folder / "out" / "size.md").read_text()


def test_fields_of_both_kinds_can_be_set(folder, monkeypatch):
    asked: list[str] = []
    in_this_process(monkeypatch, asked)
    assert size(folder, "--explainers", "lime", "--metrics", "deletion", "lime.samples=5", "deletion.steps=3") == 0
    assert asked[1:] == ["explainers:lime[samples=5]", "metrics:deletion[steps=3]"]
    assert read(folder, "explainers").loc["lime[samples=5]", "forward"] == 5
    assert read(folder, "metrics").loc["deletion[steps=3]", "forward"] == 4


SCRIPT = """
import json, sys, time
cases = [tuple(case) for case in json.loads(sys.argv[1])]
for kind, label in cases:
    if label == "dies":
        sys.exit("no luck")
    if label == "hangs":
        time.sleep(60)
    print("noise")
    print("rows " + json.dumps([{"seconds": len(cases)}]), flush=True)
"""


def test_a_process_goes_on_where_another_one_stopped(monkeypatch):
    real, started = subprocess.Popen, []

    def popen(command, **options):
        started.append(command[-1])
        return real([sys.executable, "-c", SCRIPT, command[-1]], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    cases = [("explainers", label) for label in ("a", "dies", "b", "hangs", "c")]
    found = {label: rows for (_, label), rows in bench_size.measured([], bench_size.parsed(["--seconds", "3"]), cases)}
    assert found == {
        "a": [{"seconds": 5}],
        "dies": [{"skipped": "failed: no luck"}],
        "b": [{"seconds": 3}],
        "hangs": [{"skipped": "stopped after 3 s"}],
        "c": [{"seconds": 1}],
    }
    assert [len(json.loads(asked)) for asked in started] == [5, 3, 1]


def test_memory_beyond_the_limit_is_told():
    code = (
        "import torch; from xaibench.cli.bench_size_probe import limited\n"
        "limited(torch.device('cpu'), 0.25); torch.ones(2**24)\n"
        "try:\n    torch.ones(2**28)\nexcept RuntimeError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert any(text in done.stdout for text in bench_size_probe.NO_MEMORY)


def test_a_method_without_enough_memory_or_that_fails_stops_no_other(folder, monkeypatch):
    def fail(self, *_arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("xaibench.explainers.saliency.Saliency.__call__", fail)
    in_this_process(monkeypatch, [])
    assert size(folder, "--explainers", "saliency,sobel", "--metrics", "none", "--gigabytes", "2") == 1
    found = read(folder, "explainers")
    assert found.loc["saliency", "skipped"] == "needs more than 2 GiB"
    assert found.loc["sobel", "seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--explainers", "gradiant"), "gradiant"),
        (("--explainers", "gradient", "--metrics", "none", "lime.samples=5"), "expected a field of a chosen explainer"),
        (("--dataset", "large/fotographs"), "fotographs"),
        (("trainer.epoch=1",), "trainer.epoch"),
    ],
)
def test_errors_come_before_anything_is_trained(arguments, message, tmp_path, capsys):
    assert size(tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
