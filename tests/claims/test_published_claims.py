"""From the store to a study's folder: evidence, claims, pictures, on networks trained for a moment."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch

from xaibench import publish as publishing
from xaibench.claims.accuracy import Accuracy
from xaibench.claims.evidence import evidences
from xaibench.claims.largest_mass import LargestMass
from xaibench.claims.page import number, to_markdown, to_rich
from xaibench.claims.region_sum import RegionSum
from xaibench.claims.sum_of_softmax import SumOfSoftmax
from xaibench.component import ConfigurationError
from xaibench.datasets.digits import Digits
from xaibench.execution import run
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.grid import Entry, Grid
from xaibench.identity import train_key
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.linear import Linear
from xaibench.pictures import Picture
from xaibench.problem import Training
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Store
from xaibench.tables.longtable import Results
from xaibench.training import Trainer

TRAINER = Trainer(epochs=3, learning_rate=0.01)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A linear network on digits with two seeds, explained by input x gradient of its logits for all classes."""
    folder = tmp_path_factory.mktemp("study")
    grid = Grid(
        datasets=(Entry("digits", Digits()),),
        models=(Entry("linear", Linear()),),
        trainers=(Entry("auto", TRAINER),),
        explain_on=(Entry("explain_on", ExplainOn(per_class=3, order="first", correct=True, targets="all")),),
        explainers=(Entry("input_x_gradient", InputXGradient()),),
        metrics=(Entry("sparseness", Sparseness()),),
        seeds=(0, 1),
    )
    run(grid, Stages(Store(folder / "store"), Runtime("cpu", 1)))
    found = Results(grid, Store(folder / "store"))
    assert len(found.found) == 2
    return found


def weights(results, seed):
    training = Training(Digits(), Linear(), TRAINER, seed)
    tensors = results.store.read("train", train_key(training)[0]).group("weights")
    return next(value for value in tensors.values() if value.ndim == 2).reshape(10, 8, 8).numpy()


def test_evidence_holds_the_images_that_all_seeds_share(results):
    (found,) = evidences(results)
    stored = [set(artifact.tensors["index"].tolist()) for _, artifact in results.found]
    assert stored[0] != stored[1]
    assert set(found.index.tolist()) == stored[0] & stored[1]
    assert (found.predicted == found.labels).all()
    test = Digits().load().test
    torch.testing.assert_close(torch.from_numpy(found.images).float(), test.images[found.index][:, 0])
    assert found.labels.tolist() == test.labels[found.index].tolist()
    for seed in (0, 1):
        for image in range(len(found.index)):
            np.testing.assert_allclose(found.values[seed, image], weights(results, seed) * found.images[image], atol=1e-6)


def test_evidence_needs_common_targets(results):
    grid = results.grid
    other = Entry("explain_on", dataclasses.replace(grid.explain_on[0].component, targets="predicted"))
    grid = dataclasses.replace(grid, explain_on=(other,))
    run(grid, Stages(results.store, Runtime("cpu", 1)))
    with pytest.raises(ConfigurationError, match=r"explain_on\.targets.*all"):
        next(evidences(Results(grid, results.store)))


CLAIMS = (
    Accuracy(topic="right", reference=0.1),
    RegionSum(topic="upper half", rectangles=[[0, 4, 0, 8]], positive=[3]),
    LargestMass(topic="nobody", indices=[99999]),
    LargestMass(topic="diagonal"),
    SumOfSoftmax(topic="noise", count=20),
)
PICTURES = {
    "first": Picture(per_class=1, correct=True, true_class=(1,)),
    "chosen": Picture("signed_parts", indices=(9, 2, 3, 4), explainers=("input_x_gradient",)),
    "other": Picture("maps", count=1, explainers=("input_x_gradient",)),
    "none": Picture(true_class=(77,)),
}


def test_region_sum_of_a_linear_network(results):
    found = CLAIMS[1](results).iloc[0]
    (one,) = evidences(results)
    expected = np.mean([(weights(results, seed)[3] * one.images)[:, :4].sum(axis=(1, 2)).mean() for seed in (0, 1)])
    assert found["value"] == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def published(results, tmp_path_factory):
    """The folder, and the claims."""
    folder = tmp_path_factory.mktemp("published")
    return folder, publishing.publish(results, folder, (), {"linear": {"digits": 0.1}}, CLAIMS, PICTURES)


def test_a_study_folder_has_its_claims(published):
    folder, checked = published
    assert checked["topic"].tolist() == ["right", "upper half", "nobody", "diagonal", *["noise"] * 6]
    assert checked["holds"].iloc[0] is True
    assert checked["holds"].tolist()[4:] == [None] * 4 + [True] * 2
    loaded = publishing.load_claims(folder)
    assert loaded["holds"].tolist() == checked["holds"].tolist()
    np.testing.assert_allclose(loaded["value"], checked["value"], rtol=1e-5)
    assert "| digits | linear | 650 | 2 |" in (folder / "classifiers.md").read_text()
    assert (folder / "classifiers.md").read_text().rstrip().endswith("| 10.00 | yes |")
    assert json.loads((folder / "provenance.json").read_text())["seeds"] == [0, 1]


def test_drawing_again_from_the_folder_gives_the_same_bytes(published):
    folder, _ = published
    drawn = [path for path in folder.iterdir() if path.suffix in (".png", ".md")]
    assert {path.name for path in drawn if path.suffix == ".png"} == {
        "first-input_x_gradient.png",
        "chosen-input_x_gradient.png",
        "other.png",
    }
    before = {path: path.read_bytes() for path in drawn}
    for path in drawn:
        path.unlink()
    publishing.draw(folder, ())
    assert not list(folder.glob("*.png"))
    publishing.draw(folder, ("pictures",))
    assert {path: path.read_bytes() for path in before} == before


def test_pictures_choose_images_in_order():
    index, labels = np.array([2, 5, 7, 9, 11]), np.array([1, 0, 1, 0, 1])
    predicted = np.array([1, 1, 1, 0, 0])
    assert Picture(indices=(9, 2, 4)).rows(index, labels, predicted) == [3, 0]
    assert Picture(true_class=(1,), count=2).rows(index, labels, predicted) == [0, 2]
    assert Picture(per_class=1).rows(index, labels, predicted) == [1, 0]
    assert Picture(per_class=1, correct=True).rows(index, labels, predicted) == [3, 0]
    assert Picture(correct=False).rows(index, labels, predicted) == [1, 4]
    assert Picture(count=2).rows(index, np.array([1, 1, 1, 0, 0]), predicted) == [3, 0]  # every class once before any twice
    assert Picture(count=3).rows(index, labels, predicted) == [1, 0, 2]


def claims_frame():
    row = {"topic": "a | b", "dataset": "d", "model": "m", "explainer": "", "claim": "share", "value": 0.12345}
    row |= {"low": 0.1, "high": 0.2, "expected": "< 0.3", "holds": True, "images": 5, "seeds": 3, "note": ""}
    other = row | {"value": 1.5e-7, "low": np.nan, "high": np.nan, "holds": None, "note": "one seed"}
    frame = pd.DataFrame([row, other, row | {"topic": "c", "holds": False, "explainer": "ours", "expected": "> 0.3"}])
    return frame.assign(holds=pd.Series([True, None, False], dtype=object))


def test_claims_as_markdown():
    text = to_markdown(claims_frame())
    assert "| share | 0.123 | 0.1 to 0.2 | &lt; 0.3 | yes | 5 | 3 |  |" in text
    assert "| share | 1.5e-07 |  | &lt; 0.3 | undecided | 5 | 3 | one seed |" in text
    assert "| ours | share | 0.123 | 0.1 to 0.2 | > 0.3 | no | 5 | 3 |  |" in text
    assert text.count("| explainer |") == 1


def test_claims_for_the_terminal():
    from rich.console import Console

    console = Console(width=160, record=True, file=io.StringIO())
    console.print(to_rich(claims_frame()))
    text = console.export_text()
    assert "undecided" in text
    assert "1.5e-07" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (12.345, "12.3"), (-0.00012, "-1.2e-04"), (float("nan"), ""), (12345.0, "1.2e+04")]
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text
