"""The W&B mirror: real offline runs of a tiny grid, read back with W&B's own tool."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import wandb

from xaibench.component import ConfigurationError
from xaibench.datasets.digits import Digits
from xaibench.execution import run
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.random import Random
from xaibench.figures import tiles
from xaibench.grid import Entry, Grid
from xaibench.identity import explain_key, train_key
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.insertion import Insertion
from xaibench.models.linear import Linear
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Artifact, Store
from xaibench.tables.aggregate import aggregate, write
from xaibench.tables.longtable import Results
from xaibench.tracking import content
from xaibench.tracking.base import NoTracker
from xaibench.tracking.wandb_runs import Wandb
from xaibench.training import Trainer

KEY = "0123456789abcdef0123456789abcdef01234567"
EPOCHS = 2
Records = list[dict[str, Any]]


@dataclasses.dataclass
class Mirrored:
    results: Results
    folder: Path
    cwd: Path
    printed: str

    def runs(self) -> list[Path]:
        """W&B's folders."""
        return sorted((self.folder.parent / "wandb").glob("offline-run-*"))

    def image(self, at: int) -> np.ndarray:
        """An image of the test set."""
        found: np.ndarray = Digits().load().test.images[at].numpy()
        return found

    def map(self, explainer: str, at: int) -> np.ndarray:
        """An explainer's map of an image, for its first target."""
        (cell,) = (cell for cell, _ in self.results.found if cell.explainer.name == explainer)
        explained = self.results.store.read("explain", explain_key(cell.explaining)[0])
        assert explained is not None
        found: np.ndarray = explained.tensors["values"][explained.tensors["index"].tolist().index(at), 0].double().sum(dim=0).numpy()
        return found

    def markers(self) -> dict[Path, str]:
        return {path: path.read_text() for path in sorted((self.folder.parent / "wandb").glob("*.json"))}


def grid(*metrics: Entry[Any]) -> Grid:
    return Grid(
        datasets=(Entry("digits", Digits()),),
        models=(Entry("linear", Linear()),),
        trainers=(Entry("auto", Trainer(epochs=EPOCHS)),),
        explain_on=(Entry("explain_on", ExplainOn(count=12, background=5)),),
        explainers=(Entry("gradient", Gradient()), Entry("random", Random())),
        metrics=metrics,
        seeds=(3,),
    )


DELETION, INSERTION = Entry("deletion", Deletion(steps=4)), Entry("insertion", Insertion(steps=4))


def computed(store: Store, *metrics: Entry[Any]) -> Results:
    run(grid(*metrics), Stages(store, Runtime("cpu")))
    results = Results(grid(*metrics), store)
    assert len(results.found) == 2 * len(metrics)
    return results


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrored]:
    """Two explainers scored by deletion, mirrored with a key in the environment and from an empty folder."""
    root = tmp_path_factory.mktemp("tracking")
    (root / "results" / "tiny").mkdir(parents=True)
    (root / "cwd").mkdir()
    results = computed(Store(root / "store"), DELETION)
    write(aggregate(results.scores()), root / "results" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "cwd")
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("HOME", str(root / "home"))
        before = dict(os.environ)
        output = root / "printed.txt"
        with caught(output):
            Wandb(mode="offline").mirror(results, "tiny", root / "results" / "tiny")
        assert set(os.environ) - set(before) <= {"WANDB_SERVICE"}  # W&B's own note of its background process
        assert {name: os.environ[name] for name in before} == before
        yield Mirrored(results, root / "results" / "tiny", root / "cwd", output.read_text())


@contextlib.contextmanager
def caught(path: Path) -> Iterator[None]:
    """All that this process and its children write to stdout and stderr, in a file."""
    before = [os.dup(number) for number in (1, 2)]
    with path.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield
        finally:
            for number, copy in zip((1, 2), before, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def inspect(folder: Path, *flags: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *flags, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def records(folder: Path) -> Records:
    return [json.loads(line) for line in inspect(folder, "--json").splitlines()]


def contents(found: Records, kind: str) -> list[dict[str, Any]]:
    key = {"history": "item", "summary": "update", "config": "update"}[kind]
    return [record[kind][key] for record in found if record["type"] == kind]


def merged(found: Records, kind: str) -> dict[str, Any]:
    return {key: value for content in contents(found, kind) for key, value in content.items()}


@pytest.fixture(scope="module")
def read(mirrored: Mirrored) -> dict[str, tuple[Path, Records]]:
    """Each run's folder and records, by its explainer (the study's own run by its name)."""
    everything = {folder: records(folder) for folder in mirrored.runs()}
    return {merged(found, "config").get("explainer", "study"): (folder, found) for folder, found in everything.items()}


def test_one_run_for_each_explanation_and_one_for_the_study(mirrored: Mirrored, read: dict[str, tuple[Path, Records]]) -> None:
    assert set(read) == {"gradient", "random", "study"}
    assert len(mirrored.runs()) == 3
    opened = {name: next(record["run"] for record in found if record["type"] == "run") for name, (_, found) in read.items()}
    assert opened["gradient"]["display_name"] == "digits linear gradient seed 3"
    assert {item["run_group"] for item in opened.values()} == {"tiny"}
    assert all(item["resume"] and item["project"] == "xaibench" and not item.get("host") for item in opened.values())
    keys = mirrored.results.store.keys("explain")
    assert {opened[name]["run_id"] for name in ("gradient", "random")} == {key[:32] for key in keys}
    files = next(record["artifact"] for record in read["study"][1] if record["type"] == "artifact")
    assert files["name"] == "tiny"
    assert [item["path"] for item in files["manifest"]["contents"]] == ["table.csv", "table.md", "table.tex"]


def table(read: dict[str, tuple[Path, Records]], name: str) -> dict[str, Any]:
    folder, found = read["study"]
    content: dict[str, Any] = json.loads((folder / "files" / merged(found, "summary")[f"{name}.path"]).read_text())
    return content


def test_the_study_has_a_row_for_each_explainer_with_all_metrics(mirrored: Mirrored, read: dict[str, tuple[Path, Records]]) -> None:
    content, expected = table(read, "explainers"), aggregate(mirrored.results.scores())
    places, numbers = ["dataset", "model", "trainer", "explainer", "family"], ["deletion", "deletion (low)", "deletion (high)"]
    assert content["columns"] == [*places, *numbers]
    assert [row[:5] for row in content["data"]] == [
        ["digits", "linear", "auto", "gradient", "gradient"],
        ["digits", "linear", "auto", "random", "control"],
    ]
    means = expected[expected["score"] == "value"].sort_values("explainer")[["mean", "low", "high"]].to_numpy()
    np.testing.assert_allclose([row[5:] for row in content["data"]], means, rtol=1e-9)


def test_the_study_has_a_row_for_each_image_with_every_explainers_map(mirrored: Mirrored, read: dict[str, tuple[Path, Records]]) -> None:
    name = "explanations/digits-linear"
    artifacts = [record["artifact"] for record in read["study"][1] if record["type"] == "artifact"]
    (files,) = (item["manifest"]["contents"] for item in artifacts if "explanationsdigits-linear" in item["name"])
    places = {item["path"]: Path(item["local_path"]) for item in files}
    content = json.loads(places[f"{name}.table.json"].read_text())
    assert content["columns"] == ["index", "label", "predicted", "probability", "image", "gradient", "random"]
    cell = mirrored.results.found[0][0]
    labels, predicted, probability = mirrored.results.prediction(cell.training)
    assert len(content["data"]) == 8
    for at, label, guess, sure, *pictures in content["data"]:
        assert (label, guess, sure) == (str(labels[at]), str(predicted[at]), pytest.approx(float(probability[at])))
        image = mirrored.image(at)
        maps = [tiles.colored(mirrored.map(name, at))[0] for name in ("gradient", "random")]
        for item, expected in zip(pictures, [tiles.plain(image), *maps], strict=True):
            np.testing.assert_array_equal(np.asarray(PIL.Image.open(places[item["path"]])), expected)


def test_configuration_holds_every_field_and_summary_the_means(mirrored: Mirrored, read: dict[str, tuple[Path, Records]]) -> None:
    config, summary = merged(read["random"][1], "config"), merged(read["random"][1], "summary")
    assert (config["study"], config["seed"], config["draw"], config["family"]) == ("tiny", 3, 0, "control")
    assert config["metrics"]["deletion"]["steps"] == 4
    assert config["fields"]["explain_on"]["count"] == 12
    assert config["fields"]["trainer"] | {"epochs": EPOCHS, "batch_size": 128} == config["fields"]["trainer"]
    scores = mirrored.results.scores()
    expected = scores[(scores["explainer"] == "random") & (scores["score"] == "value")]["value"].mean()
    assert summary["deletion/value"] == pytest.approx(expected)
    assert summary["undefined/deletion/value"] == 0


def test_summary_as_the_tool_prints_it(read: dict[str, tuple[Path, Records]]) -> None:
    text = inspect(read["gradient"][0], "--summary")
    for line in ("deletion/value", "curves/deletion/probability_table", "images/separated", "fields.explainer.class", "finished"):
        assert line in text


def test_curves_of_two_explainers_overlay(mirrored: Mirrored, read: dict[str, tuple[Path, Records]]) -> None:
    drawn, curves = {}, mirrored.results.curves()
    for name in ("gradient", "random"):
        folder, found = read[name]
        charts = {key: value for key, value in merged(found, "config").items() if key.startswith("_wandb.visualize")}
        path = merged(found, "summary")["curves/deletion/probability_table.path"]
        table = json.loads((folder / "files" / path).read_text())
        drawn[name] = (charts, table["columns"], [row[0] for row in table["data"]])
        expected = curves[curves["explainer"] == name]
        np.testing.assert_allclose([row[:2] for row in table["data"]], expected[["fraction", "mean"]].to_numpy(), rtol=1e-12)
    assert drawn["gradient"] == drawn["random"]
    charts, columns, fractions = drawn["gradient"]
    assert columns == ["fraction", "probability", "explainer"]
    assert fractions == [0, 0.25, 0.5, 0.75, 1]
    (chart,) = charts.values()
    assert chart["panel_config"]["fieldSettings"] == {"x": "fraction", "y": "probability", "stroke": None}


def test_training_curves_have_the_epoch_as_their_axis(mirrored: Mirrored, read: dict[str, tuple[Path, Records]]) -> None:
    found = read["gradient"][1]
    rows = [row for row in contents(found, "history") if "epoch" in row]
    trained = mirrored.results.store.read("train", train_key(mirrored.results.found[0][0].training)[0])
    assert trained is not None
    assert [row["epoch"] for row in rows] == list(range(EPOCHS))
    for column in ("train_loss", "validation_accuracy"):
        assert [row[f"classifier/{column}"] for row in rows] == trained.group("history")[column].tolist()
    assert {"glob_name": "classifier/*", "step_metric": "epoch"}.items() <= [r["metric"] for r in found if r["type"] == "metric"][1].items()


def test_maps_are_pictures_with_captions(read: dict[str, tuple[Path, Records]]) -> None:
    folder, found = read["gradient"]
    summary = merged(found, "summary")
    assert len(set(summary["maps.filenames"])) == len(summary["maps.captions"]) == 8
    assert all((folder / "files" / name).stat().st_size for name in summary["maps.filenames"])
    assert summary["maps.captions"] != merged(read["random"][1], "summary")["maps.captions"]
    assert [text.split(";")[0] for text in summary["maps.captions"]] == [
        text.split(";")[0] for text in merged(read["random"][1], "summary")["maps.captions"]
    ]


def test_nothing_is_printed_or_left_elsewhere_and_no_key_is_stored(mirrored: Mirrored) -> None:
    assert mirrored.printed == ""
    assert not list(mirrored.cwd.iterdir())
    root = mirrored.folder.parent.parent
    assert not (root / "home").exists()
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.fixture
def again(mirrored: Mirrored, tmp_path: Path) -> Mirrored:
    """The same mirror in a folder that a test may change."""
    shutil.copytree(mirrored.folder.parent, tmp_path / "results", symlinks=True)
    return dataclasses.replace(mirrored, folder=tmp_path / "results" / mirrored.folder.name)


def test_what_was_sent_is_not_sent_again(again: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, markers = again.runs(), again.markers()
    assert len(markers) == 3
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("opened a run without anything to send"))
    Wandb(mode="offline").mirror(Results(again.results.grid, again.results.store), "tiny", again.folder)
    assert again.runs() == runs
    assert again.markers() == markers


def test_only_what_is_new_is_sent(again: Mirrored) -> None:
    results = computed(again.results.store, DELETION, INSERTION)
    old = set(again.runs())
    Wandb(mode="offline").mirror(results, "tiny", again.folder)
    new = [folder for folder in again.runs() if folder not in old]
    assert {folder.name[-32:] for folder in new} == {key[:32] for key in results.store.keys("explain")}
    found = records(new[0])
    summary = merged(found, "summary")
    assert "insertion/value" in summary
    assert not [key for key in summary if key.startswith(("deletion", "classifier", "maps", "curves/deletion"))]
    assert len(contents(found, "history")) == 1
    assert set(merged(found, "config")["metrics"]) == {"deletion", "insertion"}


def test_another_destination_gets_everything(again: Mirrored) -> None:
    before = len(again.runs())
    Wandb(mode="offline", project="other").mirror(again.results, "tiny", again.folder)
    assert len(again.runs()) == before + 3


@pytest.mark.parametrize("broken", ["init raises", "no package", "no key", "breaks while sending"])
def test_a_failure_is_one_warning(
    broken: str, mirrored: Mirrored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def fail(*_: object, **__: object) -> None:
        calls.append(1)
        raise OSError("no\nnetwork")

    tracker = Wandb(mode="online" if broken == "no key" else "offline")
    match broken:
        case "init raises":
            monkeypatch.setattr(wandb, "init", fail)
        case "no package":
            monkeypatch.setitem(sys.modules, "wandb", None)
        case "no key":
            monkeypatch.setattr(wandb, "login", lambda **_: False)
            monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("went on without a key"))
        case "breaks while sending":
            monkeypatch.setattr(wandb, "Image", fail)
    with caplog.at_level(logging.INFO):
        tracker.mirror(mirrored.results, "tiny", tmp_path / "results" / "tiny")
    (record,) = [record for record in caplog.records if record.name.startswith("xaibench")]
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("W&B: ")
    assert "\n" not in record.getMessage()
    assert len(calls) == (1 if broken in ("init raises", "breaks while sending") else 0)
    assert not list((tmp_path / "results" / "wandb").glob("*.json"))


KILLED = """
import os, signal, sys, time
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from test_tracking import DELETION, grid
from xaibench.tables.longtable import Results
from xaibench.store import Store
from xaibench.tracking import content
from xaibench.tracking.wandb_runs import Wandb

def children():
    for status in Path("/proc").glob("[0-9]*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if int(fields["PPid"]) == os.getpid():
            yield int(status.parent.name)

def kill(*given):
    found = list(children())
    assert found
    for number in found:
        os.kill(number, signal.SIGKILL)
    real(*given)

real = content._send_classifier
content._send_classifier = kill
start = time.perf_counter()
told = Wandb(mode="offline").mirror(Results(grid(DELETION), Store(Path(sys.argv[2]))), "tiny", Path(sys.argv[3]))
print(f"told={told!r} seconds={time.perf_counter() - start:.0f}")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="finds W&B's process below /proc")
def test_killing_wandbs_process_leaves_our_run_unharmed(mirrored: Mirrored, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "tiny"
    shutil.copytree(mirrored.folder, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(mirrored.results.store.root), str(folder)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert "told='' seconds=" in outcome.stdout
    assert int(outcome.stdout.split("seconds=")[1]) < 90
    assert "the mirror is incomplete, the results are not affected" in outcome.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before
    assert not list((tmp_path / "results" / "wandb").glob("*.json"))


def test_the_job_of_a_sweep_fills_the_run_that_the_agent_made(tmp_path: Path) -> None:
    """W&B ignores other ids there; all that a job wrote under its own would have ended in one run."""
    command = [sys.executable, "-m", "xaibench.cli.main", "run", "dataset=digits", "model=linear", "trainer.epochs=1", "explain_on.count=4"]
    command += ["explainer=gradient", "metric=sparseness", "study=one", "tracker=wandb", "tracker.mode=offline", "runtime.device=cpu"]
    sent = []
    for job in ("first", "second"):
        names = {"WANDB_SWEEP_ID": "sweep", "WANDB_RUN_ID": job}
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=os.environ | names)
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        sent += [path for path in (tmp_path / "results" / "wandb").glob("offline-run-*") if path not in sent]
        assert sent[-1].name.endswith(f"-{job}")
        assert merged(records(sent[-1]), "summary")["sparseness/value"] > 0
    assert len(sent) == 2


def test_undefined_scores_are_counted_and_left_out_of_means() -> None:
    nan = torch.nan
    values = {"values.value": torch.tensor([[1.0, 3.0], [nan, 5.0], [4.0, 4.0]]), "values.none": torch.full((3, 2), nan)}
    curves = {"curves.logit": torch.tensor([[[1.0, 2.0]], [[nan, nan]], [[3.0, 6.0]]]), "fractions": torch.tensor([0.0, 1.0])}
    logged: dict[str, Any] = {}
    run = SimpleNamespace(summary={}, log=logged.update)
    content._send_scores("some_metric", "some_explainer", Artifact(values | curves), run)
    assert run.summary == {
        "some_metric/value": 3.0,
        "undefined/some_metric/value": 1,
        "some_metric/none": None,
        "undefined/some_metric/none": 3,
    }
    assert logged["curves/some_metric/logit"].table.data == [[0.0, 2.0, "some_explainer"], [1.0, 4.0, "some_explainer"]]


def test_picture_is_centered_at_zero() -> None:
    values = np.array([[2.0, -2.0], [0.0, np.nan]])
    picture, limit = tiles.beside(np.full((1, 2, 2), 0.5, np.float32), values)
    size = tiles.PICTURE
    assert limit == pytest.approx(2)
    assert picture.shape == (size, 2 * size, 3)
    assert (picture[:, :size] == 128).all()
    against_red, against_blue = picture[0, -1].astype(int)[[0, 2]]
    for_red, for_blue = picture[0, size].astype(int)[[0, 2]]
    assert for_red > for_blue
    assert against_blue > against_red
    assert picture[-1, size].min() >= 254  # a colormap of 256 colors has no middle one
    assert picture[-1, -1].tolist() == [128, 128, 128]


def test_colored_images_keep_their_colors() -> None:
    image = np.zeros((3, 32, 32), np.float32)
    image[0] = 1
    picture, limit = tiles.beside(image, np.zeros((32, 32)))
    assert picture.shape == (224, 448, 3)
    assert (picture[:, :224] == [255, 0, 0]).all()
    assert (picture[:, 224:] >= 254).all()
    assert limit == 1


def test_no_tracker_writes_nothing(mirrored: Mirrored, tmp_path: Path) -> None:
    NoTracker().mirror(mirrored.results, "tiny", tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


def test_a_wrong_mode_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"Wandb\.mode='of'.*online, offline"):
        Wandb(mode="of")  # type: ignore[arg-type]


def test_counterfactuals_stand_in_a_row_behind_their_image_and_gray_where_none_was_found() -> None:
    image, proposals = np.zeros((1, 32, 16), np.float32), np.ones((3, 1, 32, 16), np.float32)
    picture = tiles.strip(image, proposals, np.array([True, False, True]))
    assert picture.shape == (224, 4 * 112, 3)
    assert [int(picture[:, part : part + 112].min()) for part in range(0, 448, 112)] == [0, 255, 128, 255]
    assert [int(picture[:, part : part + 112].max()) for part in range(0, 448, 112)] == [0, 255, 128, 255]


def test_counterfactuals_are_sent_as_rows_of_images(mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = mirrored.results.found[0][0]
    real = mirrored.results.store.read("explain", explain_key(cell.explaining)[0])
    assert real is not None
    count = len(real.tensors["index"])
    found = torch.arange(count * 9).reshape(count, 9) % 2 == 0
    made = {"images": torch.rand(count, 9, 1, 8, 8), "found": found, "index": real.tensors["index"]}
    made["targets"] = torch.arange(9).repeat(count, 1)
    results = SimpleNamespace(store=SimpleNamespace(read=lambda *_: Artifact(made)), prediction=mirrored.results.prediction)
    logged: dict[str, Any] = {}
    monkeypatch.setattr(wandb, "Image", lambda picture, caption: (picture.shape, caption))
    content._send_explanations(results, cell, SimpleNamespace(log=logged.update))
    (name,) = logged
    assert name == "counterfactuals"
    assert len(logged[name]) == 8
    assert {shape for shape, _ in logged[name]} == {(224, 10 * 224, 3)}
    assert all(caption.endswith("; then 0, 1, 2, 3, 4, 5, 6, 7, 8; gray: none found") for _, caption in logged[name])
