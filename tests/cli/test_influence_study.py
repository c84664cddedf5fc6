"""Influence from the command line: asked for in a study, planned, computed once, published; the figures; the intervals over seeds."""

import json

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from cli_cases import Bench

from xaibench.figures.influence import heat_maps
from xaibench.stats.intervals import added_half_widths

GIVEN = ("-m", "model=linear", "seed=0,1", "explainer=null", "++influences.quantiles={taus: [-1, 1], resamples: 4}")


def test_a_study_asks_for_it_and_gets_data_table_and_figures(tmp_path):
    bench = Bench(tmp_path)
    planned = bench("plan", *GIVEN).out
    assert " influence " in planned
    outcome = bench.run(*GIVEN)
    assert outcome.status == 0, outcome.out + outcome.err
    assert len(bench.store.keys("influence")) == 2
    folder = bench.results / "sweep"
    with safetensors.safe_open(folder / "influence.safetensors", framework="numpy") as file:
        (about,) = json.loads(file.metadata()["about"]).values()
    assert about["seeds"] == [0, 1]
    table = pd.read_csv(folder / "influence.csv")
    assert list(table["of"])[:11] == [*map(str, range(10)), "accuracy"]
    assert (table["least"] <= table["most"]).all()
    assert ((table["most_low"] <= table["most"]) & (table["most"] <= table["most_high"])).all()
    assert (table["varying"] < table["pixels"]).all()  # digits have black corners
    for name in ("influence.md", "influence.png", "performance.png", "recall.png"):
        assert (folder / name).stat().st_size > 0
    before, text = bench.written(), (folder / "influence.md").read_text()
    again = bench.run(*GIVEN)
    assert again.status == 0
    assert bench.written() == before
    assert (folder / "influence.md").read_text() == text
    other = bench.run(*GIVEN[:-1], "++influences.quantiles={taus: [-1, 0.5], resamples: 0}")
    assert other.status == 0, other.out + other.err
    assert len(bench.store.keys("influence")) == 4


def test_attributions_in_the_same_study_are_compared_with_it(tmp_path):
    bench = Bench(tmp_path)
    given = (
        "-m",
        "model=linear",
        "seed=0,1",
        "explainer=input_x_gradient,random",
        "metric=sparseness",
        "++explain_on.count=150",
        "explain_on.targets=label",
        GIVEN[-1],
    )
    outcome = bench.run(*given)
    assert outcome.status == 0, outcome.out + outcome.err
    folder = bench.results / "sweep"
    table = pd.read_csv(folder / "influence_agreement.csv").set_index(["explainer", "class"])
    assert set(table.loc["random"].index) == {*map(str, range(10)), "mean"}
    mean = table.loc[("input_x_gradient", "mean")]
    assert mean["correlation"] == pytest.approx(table.loc["input_x_gradient"]["correlation"].drop("mean").mean(), abs=1e-3)
    assert mean["over_control"] == pytest.approx(mean["correlation"] - table.loc[("random", "mean"), "correlation"], abs=1e-3)
    assert mean["over_control_low"] > 0  # a linear classifier's products know more than noise
    assert (folder / "influence_agreement.png").stat().st_size > 0
    assert "*random* (control)" in (folder / "influence_agreement.md").read_text()


@pytest.mark.parametrize(
    ("given", "told"), [("++influences.a={taus: [3]}", "Influence.taus=[3]: expected"), ("++influences.a={what: 1}", "influences.a")]
)
def test_wrong_fields_are_told_before_anything_is_trained(tmp_path, given, told):
    bench = Bench(tmp_path)
    outcome = bench.run("-m", "model=linear", "explainer=null", given)
    assert outcome.status != 0
    assert told in outcome.err
    assert not bench.store.root.exists()


def test_what_cannot_be_saturated_is_gray_and_the_scale_is_common(tmp_path):
    values = np.zeros((2, 3, 3))
    values[0, 1, 1], values[1, 0, 0], values[1, 2, 2] = 0.5, -2.0, 9.0
    moved = np.ones((3, 3), dtype=bool)
    moved[2, 2] = False
    for common, ends in ((True, (2.0, 2.0)), (False, (0.5, 2.0))):
        figure = heat_maps(values, moved, ["a", "b"], "unit", tmp_path / "one.png", common)
        maps = [axes.images[0] for axes in figure.axes if axes.images]
        assert tuple(image.norm.vmax for image in maps) == ends
        assert all(np.isnan(np.ma.filled(image.get_array(), np.nan)[2, 2]) for image in maps)
    with pytest.raises(ValueError, match="expected 1 maps"):
        heat_maps(values, moved, ["a"], "unit", tmp_path / "one.png")


def test_seeds_share_the_images_part_of_the_interval():
    values, halves = np.array([[1.0, 0.0], [1.0, 2.0], [1.0, 4.0]]), np.array([[0.3, 0.0], [0.6, 0.0], [0.9, 0.0]])
    found = added_half_widths(values, halves)
    assert found[0] == pytest.approx(0.6)  # equal seeds narrow nothing
    assert found[1] == pytest.approx(4.302653 * 2 / np.sqrt(3), rel=1e-5)
    assert added_half_widths(values[:1], halves[:1])[0] == pytest.approx(0.3)
