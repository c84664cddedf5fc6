"""The figure of counterfactuals: what stands in which cell, and that it is drawn from the saved data alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xaibench import pictures
from xaibench.datasets.digits import Digits
from xaibench.execution import run
from xaibench.explainers.gradient import Gradient
from xaibench.explaining import FLAGS
from xaibench.figures.counterfactuals import ADDED, NONE_FOUND, OUTLINE, REMOVED, changes, counterfactuals
from xaibench.grid import Entry, Grid
from xaibench.identity import explain_key
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.linear import Linear
from xaibench.pictures import Picture
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Artifact, Store
from xaibench.tables.longtable import Results
from xaibench.training import Trainer

COUNT, CLASSES, SIDE = 3, 4, 10
GAP = 1


def given(channels=1):
    """Three images; image 0 is of class 0 and has a counterfactual of class 1 and none of class 2; class 3 was not asked for."""
    draw = np.random.default_rng(0)
    images = draw.random((COUNT, channels, SIDE, SIDE))
    proposals = draw.random((COUNT, CLASSES, channels, SIDE, SIDE))
    asked = np.ones((COUNT, CLASSES), dtype=bool)
    asked[np.arange(COUNT), [0, 1, 2]] = False
    asked[0, 3] = False
    found = asked.copy()
    found[0, 2] = found[2, 0] = False
    names = ["zero", "one", "two", "three"]
    return {
        "images": images,
        "proposals": proposals,
        "found": found,
        "asked": asked,
        "predicted": [0, 1, 2],
        "class_names": names,
        "row_labels": ["#5 zero\n→ zero 0.900", "#6 one\n→ one 0.800", "#9 zero\n→ two 0.700"],
        "title": "wachter[distance=l1]",
    }


def tile(figure, row, column):
    """(SIDE, SIDE, 3): a cell."""
    mosaic = np.asarray(figure.axes[0].images[0].get_array())
    top, left = row * (SIDE + GAP), column * (SIDE + GAP)
    return mosaic[top : top + SIDE, left : left + SIDE]


def plain(image):
    return (image.repeat(3, axis=0) if len(image) == 1 else image).transpose(1, 2, 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_cell_shows_what_was_found_there(channels, tmp_path):
    parts = given(channels)
    figure = counterfactuals(**parts, path=tmp_path / "a.png")
    for row in range(COUNT):
        for column in range(CLASSES):
            drawn = tile(figure, row, column)
            if column == parts["predicted"][row]:
                np.testing.assert_allclose(drawn, plain(parts["images"][row]))
            elif parts["found"][row, column]:
                np.testing.assert_allclose(drawn, plain(parts["proposals"][row, column]))
            else:
                assert (drawn == (NONE_FOUND if parts["asked"][row, column] else 1.0)).all()
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_originals_are_outlined_and_everything_is_labeled(tmp_path):
    figure = counterfactuals(**given(), path=tmp_path / "a.png")
    (axes,) = figure.axes
    corners = [patch.get_xy() for patch in axes.patches]
    assert corners == [(number * (SIDE + GAP) - 0.5, number * (SIDE + GAP) - 0.5) for number in range(COUNT)]
    assert {patch.get_edgecolor()[:3] for patch in axes.patches} == {tuple(int(OUTLINE[at : at + 2], 16) / 255 for at in (1, 3, 5))}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["zero", "one", "two", "three"]
    assert [text.get_text().split("\n")[-1] for text in axes.get_yticklabels()] == ["1 of 2 found", "3 of 3 found", "2 of 3 found"]
    assert axes.get_yticklabels()[2].get_text().startswith("#9 zero\n→ two 0.700")
    assert axes.get_title() == "wachter[distance=l1]: 6 of 8 counterfactuals found"
    caption = axes.get_xlabel().replace("\n", " ")
    assert "gray cells: none found" in caption
    assert "the original, in the column of its predicted class" in caption


def test_what_keeps_the_predicted_class_stands_beside_the_original(tmp_path):
    parts = given()
    parts["asked"] = np.eye(COUNT, CLASSES, dtype=bool)
    parts["found"] = parts["asked"].copy()
    figure = counterfactuals(**parts, path=tmp_path / "a.png")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["image", "zero", "one", "two", "three"]
    for row in range(COUNT):
        np.testing.assert_allclose(tile(figure, row, 0), plain(parts["images"][row]))
        np.testing.assert_allclose(tile(figure, row, row + 1), plain(parts["proposals"][row, row]))
    assert "a column of its own" in figure.axes[0].get_xlabel().replace("\n", " ")


def test_changes_are_red_where_brighter_and_blue_where_darker():
    before = np.array([[[0.5, 0.5, 0.0, 1.0, 0.25]]])
    after = np.array([[[0.5, 0.75, 1.0, 0.0, 0.0]]])
    drawn = changes(before, after)[0]
    np.testing.assert_allclose(drawn[0], 0.5)
    np.testing.assert_allclose(drawn[1], 0.25 + 0.5 * np.array(ADDED))
    np.testing.assert_allclose(drawn[2], ADDED)
    np.testing.assert_allclose(drawn[3], REMOVED)
    np.testing.assert_allclose(drawn[4], 0.125 + 0.5 * np.array(REMOVED))


def test_color_replaces_the_counterfactuals_only(tmp_path):
    parts = given(3)
    figure = counterfactuals(**parts, path=tmp_path / "a.png", color=True)
    np.testing.assert_allclose(tile(figure, 1, 3), changes(parts["images"][1], parts["proposals"][1, 3]))
    np.testing.assert_allclose(tile(figure, 1, 1), plain(parts["images"][1]))
    assert (tile(figure, 0, 2) == NONE_FOUND).all()


@pytest.mark.parametrize("name", ["proposals", "found", "asked", "row_labels", "predicted"])
def test_parts_that_do_not_fit_are_refused(name, tmp_path):
    parts = given()
    with pytest.raises(ValueError, match="expected"):
        counterfactuals(**{**parts, name: parts[name][:-1]}, path=tmp_path / "a.png")


GRID = Grid(
    datasets=(Entry("digits", Digits()),),
    models=(Entry("linear", Linear()),),
    trainers=(Entry("auto", Trainer(epochs=1)),),
    explain_on=(Entry("explain_on", ExplainOn(count=6, targets=(1, 4, 7))),),
    explainers=(Entry("gradient", Gradient()), Entry("searching", Gradient(output="probability"))),
    metrics=(Entry("sparseness", Sparseness()),),
    seeds=(0,),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results in which the second explainer's explanations are counterfactuals."""
    folder = tmp_path_factory.mktemp("pictures")
    run(GRID, Stages(Store(folder / "store"), Runtime("cpu")))
    results = Results(GRID, Store(folder / "store"))
    assert len(results.found) == 2
    draw = torch.Generator().manual_seed(0)
    flag = torch.randint(0, 2, (6, 3), generator=draw) * FLAGS.index("without a counterfactual")
    images = torch.rand(6, 3, 1, 8, 8, generator=draw)
    images[0, 0] = torch.nan
    made = {"images": images, "found": flag == 0, "flag": flag.to(torch.uint8)}

    def read(stage, key):
        artifact = Store(folder / "store").read(stage, key)
        searching = stage == "explain" and artifact.tensors["values"].equal(second)
        return Artifact({**made, "index": artifact.tensors["index"], "targets": artifact.tensors["targets"]}) if searching else artifact

    second = results.store.read("explain", explain_key(results.found[1][0].explaining)[0]).tensors["values"]
    return SimpleNamespace(
        found=results.found, facts=results.facts, prediction=results.prediction, store=SimpleNamespace(read=read), made=made
    )


FIGURES = {
    "maps": Picture("maps"),
    "classes": Picture("all_classes"),
    "signed": Picture("signed_parts"),
    "found": Picture("counterfactuals"),
    "colored": Picture("counterfactuals", color=True, count=2),
}


def test_each_figure_shows_the_kind_of_explanation_that_it_is_for(results, tmp_path, monkeypatch):
    pictures.save(results, FIGURES, tmp_path / "maps.safetensors")
    drawn = {}
    original = pictures.counterfactuals

    def spy(images, proposals, found, asked, predicted, classes, labels, title, path, color):
        drawn[path.name] = (proposals, found, asked, predicted, classes, title, color)
        return original(images, proposals, found, asked, predicted, classes, labels, title, path, color)

    monkeypatch.setattr(pictures, "counterfactuals", spy)
    monkeypatch.setattr(pictures, "arrays_of", lambda _: pytest.fail("the data set was read"))
    pictures.draw(tmp_path / "maps.safetensors", without=set())
    searching, gradient = (results.facts(results.found[number][0])["explainer"] for number in (1, 0))
    ours, theirs = (pictures.file_name(label) for label in (searching, gradient))
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {"maps.png", f"classes-{theirs}.png", f"signed-{theirs}.png", f"found-{ours}.png", f"colored-{ours}.png"}
    assert [drawn[f"{name}-{ours}.png"][-1] for name in ("found", "colored")] == [False, True]
    proposals, found, asked, predicted, classes, title, _ = drawn[f"found-{ours}.png"]
    assert title == searching
    labels, guesses, _ = results.prediction(results.found[1][0].training)
    index = results.store.read("explain", results_key(results)).tensors["index"].numpy()
    order = np.lexsort((index, labels[index]))
    assert [classes[column] for column in predicted] == [str(guess) for guess in guesses[index][order]]
    assert set(classes) == {"1", "4", "7", *map(str, guesses[index])}
    for column, name in enumerate(classes):
        if name in ("1", "4", "7"):
            place = ("1", "4", "7").index(name)
            known = results.made["found"].numpy()[order, place]
            assert (found[:, column] == known).all()
            assert asked[:, column].all()
            expected = results.made["images"].numpy()[order, place][known]
            assert np.abs(proposals[found[:, column], column] - expected)[np.isfinite(expected)].max(initial=0) <= 0.51 / 255
        else:
            assert not asked[:, column].any()


def results_key(results):
    return explain_key(results.found[1][0].explaining)[0]
