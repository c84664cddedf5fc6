"""Our counterfactuals beside those that alibi's TensorFlow methods found of the same networks, images and targets, kept as a fixture."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from xaibench.alibi_parity import comparison, exporting, ours
from xaibench.alibi_parity.__main__ import FOLDER, REQUIREMENTS, rows
from xaibench.alibi_parity.timing import SCRIPT
from xaibench.problem import Problem, Split

ROOT = Path(__file__).parents[2]
KEPT = ROOT / FOLDER
METHODS = tuple(exporting.SETTINGS)
RUNS = tuple(ours.RUNS)


@pytest.fixture(scope="module")
def theirs() -> dict[str, np.ndarray]:
    return dict(np.load(KEPT / "reference.npz"))


@pytest.fixture(scope="module")
def mine() -> dict[str, np.ndarray]:
    return dict(np.load(KEPT / "ours.npz"))


@pytest.fixture(scope="module")
def facts() -> dict:
    return json.loads((KEPT / "reference.json").read_text())


@pytest.fixture(scope="module")
def problem(theirs) -> Problem:
    """The fixture's networks and pairs."""
    weights = np.load(KEPT / "networks.npz")

    def network(name: str, built: nn.Module) -> nn.Module:
        own = {key.removeprefix(f"{name}."): torch.from_numpy(weights[key]) for key in weights if key.startswith(f"{name}.")}
        built.load_state_dict(own)
        return built.eval().requires_grad_(False)

    classifier = network("classifier", exporting.TRAINING.model.build((1, 28, 28), 10))
    helpers = {"autoencoder": network("autoencoder", exporting.AUTOENCODER.model.build((1, 28, 28), 10))}
    images, targets, labels, index = (torch.from_numpy(theirs[name]) for name in ("images", "targets", "labels", "index"))
    images = images[:, None]
    return Problem(classifier, images, targets, labels, index, images, helpers=helpers, training_data=Split(images, labels))


def test_alibi_ran_at_our_settings_on_equal_networks(facts):
    assert facts["versions"]["alibi"] == "0.9.6"
    assert {name: facts["settings"][name] for name in METHODS} == exporting.SETTINGS
    assert facts["differences"].keys() == {"logits", "probabilities", "reconstructed"}
    assert max(facts["differences"].values()) <= 1e-5
    locked = dict(line.split("==") for line in REQUIREMENTS.read_text().split())
    assert {name: locked[name] for name in ("alibi", "tensorflow", "keras", "numpy", "scipy")} == {
        name: version for name, version in facts["versions"].items() if name != "python"
    }


def test_the_kept_networks_are_those_of_the_fixture(problem, theirs):
    with torch.inference_mode():
        assert problem.classifier(problem.images).argmax(1).tolist() == theirs["predicted"].tolist()
    assert (theirs["targets"] != theirs["predicted"][:, None]).all()


@pytest.mark.parametrize("run", RUNS)
def test_what_is_found_follows_from_the_stored_images_by_one_rule(run, problem, mine, theirs):
    name, _ = ours.RUNS[run]
    targets = ours.targets_of(name, problem, theirs[f"{name}.images"])
    assert (mine[f"{run}.targets"] == targets).all()
    for key, images in (("found", mine[f"{run}.images"]), ("alibi_found", theirs[f"{name}.images"])):
        found, _ = ours.judged(problem, images, targets)
        assert (mine[f"{run}.{key}"] == found).all()
        shifted, _ = ours.judged(problem, images, (targets + 1) % 10)
        assert not (shifted & found).any()


DEFAULT = ("wachter", *(run for run, (_, output) in ours.RUNS.items() if output == "logit"))
"""Those of our runs whose loss is of what it is by default."""

FEW_FOUND = "pertinent_positive"
"""alibi's finds next to none, and those are empty: their distance says nothing."""


@pytest.mark.parametrize("run", RUNS)
def test_ours_finds_at_least_as_many_or_with_the_loss_of_alibi_all_but_one(run, mine):
    missing = mine[f"{run}.alibi_found"].sum() - mine[f"{run}.found"].sum()
    assert missing <= (0 if run in DEFAULT else 1)


FARTHER = {"guided_by_prototypes, logits": "1.003 times as far in the median of 13 pairs; the two do not differ (Wilcoxon's p = .6)"}
"""Where ours is not as close: known, told in the table, and to be mended."""


def compared(run):
    marks = pytest.mark.xfail(reason=FARTHER[run], strict=True) if run in FARTHER else ()
    return pytest.param(run, marks=marks)


@pytest.mark.parametrize("run", [compared(run) for run in RUNS if not run.startswith(FEW_FOUND)])
def test_ours_is_at_least_as_close_or_with_the_loss_of_alibi_nearly(run, mine, theirs):
    (row,) = [row for row in rows(mine, theirs) if row["method"] == run]
    assert row["found_both"] >= 6
    assert row["L1+L2_ratio"] <= (1 if run in DEFAULT else 1.05)


def test_the_table_follows_from_the_arrays(mine, theirs):
    table = pd.read_csv(KEPT / "table.csv")
    again = pd.DataFrame(rows(mine, theirs))
    assert list(table) == list(again)
    numbers = [name for name in again if name != "method"]
    np.testing.assert_allclose(table[numbers].to_numpy(float), again[numbers].to_numpy(float), rtol=1e-5)


def test_our_code_still_gives_what_the_table_compares(problem, mine):
    one = ours.asking(problem.take(slice(0, 1)), mine["wachter.targets"][:1, :1])
    found, _ = ours.timed(ours.method("wachter", exporting.SETTINGS["wachter"]), one)
    assert found.found.all()
    origin = problem.images[:1, 0].numpy()
    now, then = (
        comparison.distances(origin, images)["L1+L2"] for images in (found.images[:, :, 0].numpy(), mine["wachter.images"][:1, :1])
    )
    np.testing.assert_allclose(now, then, rtol=0.05)


def test_distances_and_their_comparison_on_known_numbers():
    images = np.zeros((1, 2, 2))
    near = np.array([[[[0.3, 0.0], [0.4, 0.0]], [[2.0, 0.0], [0.0, 0.0]], [[0.0, 0.5], [0.0, 0.0]]]])
    found = comparison.distances(images, near)
    np.testing.assert_allclose(found["L1+L2"], [[0.7 + 0.5, 2.0, 1.0]])  # the second is clipped to 1
    sides = [{"near": near * size, "found": np.array([[True, True, there]])} for size, there in ((0.5, True), (1.0, False))]
    row = comparison.row(images, *sides)
    assert (row["pairs"], row["found_ours"], row["found_alibi"], row["found_both"]) == (3, 3, 2, 2)
    assert row["L1_ratio"] == pytest.approx((0.5 + 1.0) / 2)
    assert row["L1_not_greater"] == 1
    assert comparison.row(images, *reversed(sides))["L1_not_greater"] == 0.5
    nothing = [side | {"found": np.zeros((1, 3), bool)} for side in sides]
    assert np.isnan(comparison.row(images, *nothing)["L1_ratio"])


def test_an_image_that_is_missing_is_never_found(problem, mine):
    images = mine["wachter.images"].copy()
    images[0, 0] = np.nan
    found, _ = ours.judged(problem, images, mine["wachter.targets"])
    assert mine["wachter.found"][0, 0]
    assert not found[0, 0]


def test_the_command_imports_neither_alibi_nor_tensorflow():
    check = "import sys, xaibench.alibi_parity.__main__; print({'alibi', 'tensorflow'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
    assert "tensorflow" in SCRIPT.read_text()
