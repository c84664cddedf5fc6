from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xaibench.claims.beats_controls import BeatsControls, beside
from xaibench.claims.better_than import BetterThan
from xaibench.claims.published_scores import PublishedScores
from xaibench.claims.rank_agreement import RankAgreement
from xaibench.component import ConfigurationError
from xaibench.stats.paired import Scored

FAMILIES = {"gradient": "gradient", "lrp": "gradient", "occlusion": "perturbation", "random": "control", "sobel": "control"}


class Scores:
    """Results with two metrics: `offsets[metric][explainer]` plus a noise of images and seeds that all share."""

    def __init__(self, offsets, higher=True, accuracy=0.9, images=30, seeds=3):
        draw = np.random.default_rng(0)
        noise = draw.normal(size=(images, seeds))
        rows = []
        for metric, by_explainer in offsets.items():
            for explainer, offset in by_explainer.items():
                own = 0.1 * draw.normal(size=(images, seeds))
                for image in range(images):
                    for seed in range(seeds):
                        value = offset + noise[image, seed] + own[image, seed]
                        rows.append((metric, explainer, FAMILIES[explainer], image, seed, 0, 0, value))
        columns = ["metric", "explainer", "family", "index", "seed", "draw", "target", "value"]
        named = {"dataset": "mnist", "model": "cnn", "trainer": "auto", "score": "value", "higher_is_better": higher}
        named |= {"metric_family": "faithfulness", "metric_version": 1, "flag": ""}
        self.table = pd.DataFrame(rows, columns=columns).assign(**named)
        self.accuracy = accuracy

    def scores(self):
        return self.table

    def classifiers(self):
        yield {"dataset": "mnist", "model": "cnn", "trainer": "auto", "seed": 0}, SimpleNamespace(), None, None

    def prediction(self, training):
        label = np.zeros(1000, dtype=int)
        return label, (np.arange(1000) >= 1000 * self.accuracy).astype(int), np.ones(1000)


OFFSETS = {"gradient": 1.0, "lrp": 2.0, "occlusion": 0.4, "random": 0.0, "sobel": 0.5}


@pytest.mark.parametrize("higher", [True, False])
def test_each_explainer_is_compared_with_the_best_control(higher):
    sign = 1 if higher else -1
    results = Scores({"pointing_game": {name: sign * value for name, value in OFFSETS.items()}}, higher)
    found = BeatsControls(metric="pointing_game")(results).set_index("explainer")
    assert list(found.index) == ["gradient", "lrp", "occlusion"]
    assert found["holds"].tolist() == [True, True, False]
    assert found["value"].to_numpy() == pytest.approx([0.5, 1.5, -0.1], abs=0.1)
    # the same text whatever the numbers are: it names the claim where two runs are compared
    assert set(found["claim"]) == {"pointing_game better than that of the best control, sobel"}
    mean = results.table.query("explainer == 'sobel'")["value"].mean()
    assert set(found["note"]) == {f"sobel {mean:.3g}; p < .001"}


def test_what_wilcoxons_test_does_not_find_is_undecided():
    """A few large differences: the interval is above 0, but most images say nothing, or the contrary."""
    draw = np.random.default_rng(0)
    large = np.where(np.arange(500) < 100, 5.0, -0.5) + 0.01 * draw.normal(size=500)
    values = {"lrp": large[:, None], "sobel": np.zeros((500, 1))}
    given = Scored(
        {"dataset": "d", "model": "m", "trainer": "t"}, "q", "faithfulness", values, {name: FAMILIES[name] for name in values}, 1.0
    )
    (found,) = beside(given)
    assert found["low"] > 0
    assert found["holds"] is None


def test_classifiers_below_the_least_accuracy_are_left_out():
    results = Scores({"pointing_game": OFFSETS}, accuracy=0.7)
    assert len(BeatsControls(metric="pointing_game", least_accuracy=0.6)(results)) == 3
    (left,) = BeatsControls(metric="pointing_game", least_accuracy=0.8)(results).to_dict("records")
    assert left["claim"] == "nothing to check it on"


def test_data_sets_that_a_claim_is_not_about_are_left_out():
    results = Scores({"pointing_game": OFFSETS})
    (name,) = set(results.table["dataset"])
    assert len(BeatsControls(metric="pointing_game", datasets=(name,))(results)) == 3
    (left,) = BeatsControls(metric="pointing_game", datasets=(f"{name}_grid",))(results).to_dict("records")
    assert left["claim"] == "nothing to check it on"


def test_an_image_without_a_score_is_left_out_and_not_averaged_away():
    results = Scores({"pointing_game": OFFSETS})
    table = results.table
    table.loc[(table["explainer"] == "gradient") & (table["index"] < 3), "value"] = np.nan
    found = BeatsControls(metric="pointing_game")(results).set_index("explainer")
    assert found.loc["gradient", "images"] == 27
    assert found.loc["gradient", "note"].endswith("undefined (image, seed) pairs: 9")
    assert found.loc["lrp", "images"] == 30


def test_published_scores_stand_beside_ours_with_the_correlation_of_the_orders():
    results = Scores({"mprt": OFFSETS}, higher=False)
    same = PublishedScores(metric="mprt", explainers=("gradient", "lrp", "occlusion"), values=(0.6, 0.9, 0.1))(results)
    assert same["note"].tolist()[:3] == ["published 0.6", "published 0.9", "published 0.1"]
    assert same["value"].to_numpy()[:3] == pytest.approx([1.0, 2.0, 0.4], abs=0.3)
    assert (same["value"].iloc[3], same["holds"].iloc[3]) == (1.0, True)
    turned = PublishedScores(metric="mprt", explainers=("gradient", "lrp", "occlusion"), values=(0.6, 0.1, 0.9))(results)
    assert turned["value"].iloc[3] == -1.0
    assert turned["holds"].iloc[3] is False
    with pytest.raises(ConfigurationError, match="expected one for each"):
        PublishedScores(metric="mprt", explainers=("gradient",), values=(0.6, 0.1))


def test_rank_agreement_is_spearmans_correlation_of_the_means_by_seed():
    other = {"gradient": 3.0, "lrp": 1.0, "occlusion": 2.0, "random": 9.0, "sobel": 8.0}
    results = Scores({"deletion": OFFSETS, "insertion": other})
    (row,) = RankAgreement(first=("deletion",), second=("insertion",), published=(-0.01,))(results).to_dict("records")
    expected = stats.spearmanr([1.0, 2.0, 0.4], [3.0, 1.0, 2.0]).statistic
    assert row["value"] == pytest.approx(expected)
    assert row["note"] == "published -0.01; these images only"
    with pytest.raises(ConfigurationError, match="expected one for each"):
        RankAgreement(first=("deletion",), second=())


def test_explainers_that_take_no_part_do_not_change_an_order():
    results = Scores({"deletion": OFFSETS, "insertion": OFFSETS})
    results.table.loc[results.table["explainer"] == "random", "value"] = np.nan
    (row,) = RankAgreement(first=("deletion",), second=("insertion",))(results).to_dict("records")
    assert (row["value"], row["images"]) == (1.0, 30)
    found = PublishedScores(metric="deletion", explainers=("gradient", "lrp", "occlusion"), values=(0.6, 0.9, 0.1))(results)
    assert (found["value"].iloc[3], found["images"].iloc[3]) == (1.0, 30)


def test_better_in_the_mean_alone_decides_nothing():
    """A few images with large differences: the interval lies above 0, most images say the contrary."""
    results = Scores({"mprt": {"gradient": 0.0, "lrp": 0.0}}, images=100)
    table, draw = results.table, np.random.default_rng(0)
    table["value"] = 0.01 * draw.normal(size=len(table)) + np.where(
        table["explainer"] == "lrp", np.where(table["index"] < 30, 1.0, -0.1), 0
    )
    (found,) = BetterThan(metrics=("mprt",), explainers=("lrp",), than=("gradient",))(results).to_dict("records")
    assert found["low"] > 0
    assert found["holds"] is None


@pytest.mark.parametrize("higher", [True, False])
def test_better_than_compares_pairs_image_by_image(higher):
    sign = 1 if higher else -1
    results = Scores({"mprt": {name: sign * value for name, value in OFFSETS.items()}}, higher)
    claim = BetterThan(metrics=("mprt", "absent"), explainers=("lrp", "occlusion"), than=("gradient", "gradient"))
    better, worse = claim(results).to_dict("records")
    assert (better["explainer"], better["holds"], worse["explainer"], worse["holds"]) == ("lrp", True, "occlusion", False)
    assert [better["value"], worse["value"]] == pytest.approx([1.0, -0.6], abs=0.1)
