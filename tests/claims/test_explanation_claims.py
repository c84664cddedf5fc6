"""Claims about explanations, on numbers worked out by hand, and on altered ones that must not pass."""

from __future__ import annotations

import numpy as np
import pytest
from claim_cases import check, evidence

from xaibench.claims.base import SHARE, judged, over_seeds, row
from xaibench.claims.explanation_claim import ExplanationClaim
from xaibench.claims.largest_mass import LargestMass
from xaibench.claims.likely_classes import LikelyClasses
from xaibench.claims.mass_excess import MassExcess
from xaibench.claims.next_classes import NextClasses
from xaibench.claims.object_mass import ObjectMass
from xaibench.claims.region_sum import RegionSum
from xaibench.component import ConfigurationError


@pytest.mark.parametrize(
    ("low", "high", "relation", "verdict"),
    [
        (1, 2, ">", True),
        (0, 2, ">", None),
        (-1, 2, ">", None),
        (-1, 0, ">", False),
        (0, 2, ">=", True),
        (-1, 0, ">=", None),
        (-2, -1, ">=", False),
        (-2, -1, "<", True),
        (-2, 0, "<", None),
        (0, 1, "<", False),
        (-1, 0, "<=", True),
        (0, 1, "<=", None),
        (float("nan"), float("nan"), ">", None),
    ],
)
def test_verdict_needs_the_whole_interval(low, high, relation, verdict):
    assert judged(low, high, relation, 0.0) is verdict


def test_interval_is_cut_at_the_range_of_the_value():
    wide = over_seeds([0.1, 0.9])
    assert (wide.low < 0, wide.high > 1) == (True, True)
    found = row({}, "share", wide, within=SHARE)
    assert (found["low"], found["high"]) == (0, 1)
    assert np.isnan(row({}, "share", over_seeds([0.5]), within=SHARE)["low"])


# Two images of 2 x 3 pixels, two seeds, three classes. Image 0 is dark in column 0, image 1 in columns 0 and 1.
IMAGES = [[[0.0, 0.5, 1.0], [0.1, 0.5, 1.0]], [[0.0, 0.1, 1.0], [0.0, 0.0, 1.0]]]


def constant(*per_class):
    """(1, 1, T, 2, 3): a constant for each class."""
    return np.array(per_class, dtype=float).reshape(1, 1, -1, 1, 1) * np.ones((1, 1, 1, 2, 3))


def test_region_sum_adds_the_pixels_of_the_area_only(monkeypatch):
    values = constant(1, -2, 3) * np.array([1.0, 1.5]).reshape(2, 1, 1, 1, 1) * np.ones((2, 2, 1, 1, 1))
    values[..., 2] = 1000.0  # outside the area
    claim = RegionSum(topic="gap", rectangles=[[0, 2, 0, 2]], pixels="dark", threshold=0.1, positive=[0], negative="others")
    found = check(claim, monkeypatch, evidence(values, IMAGES)).set_index("claim")
    # Dark pixels: 2 of image 0, 4 of image 1; 3 on average; seeds 1 and 1.5.
    assert found["value"].to_dict() == pytest.approx(
        {"sum for cat": 3.75, "sum for dog": -7.5, "sum for cow": 11.25, "mean sum for these 2 classes": 1.875}
    )
    assert found["expected"].tolist() == ["> 0", "< 0", "< 0", "< 0"]
    assert (found["images"] == 2).all()
    assert (found["topic"] == "gap").all()


@pytest.mark.parametrize(("pixels", "expected"), [("all", 4.0), ("dark", 3.0), ("bright", 1.0)])
def test_region_sum_of_all_dark_and_bright_pixels(pixels, expected, monkeypatch):
    values = np.ones((2, 2, 3, 2, 3))
    found = check(RegionSum(rectangles=[[0, 2, 0, 2]], pixels=pixels, positive=[1]), monkeypatch, evidence(values, IMAGES))
    assert found["value"].tolist() == [expected]


def test_region_sum_counts_overlapping_rectangles_once(monkeypatch):
    claim = RegionSum(rectangles=[[0, 1, 0, 2], [0, 2, 1, 2]], positive=[0])
    assert check(claim, monkeypatch, evidence(np.ones((2, 1, 3, 2, 3))))["value"].tolist() == [3.0]


def test_region_sum_holds_only_with_the_sign_that_is_expected(monkeypatch):
    noise = np.random.default_rng(0).normal(size=(3, 20, 3, 2, 3))
    noise -= noise.mean(axis=(0, 1), keepdims=True)
    base = np.array([1.0, -1.0, 0.0]).reshape(1, 1, 3, 1, 1)
    claim = RegionSum(rectangles=[[0, 2, 0, 3]], positive=[0, 2], negative=[1])
    assert check(claim, monkeypatch, evidence(base + 0.1 * noise))["holds"].tolist() == [True, None, True]
    assert check(claim, monkeypatch, evidence(-base + 0.1 * noise))["holds"].tolist() == [False, None, False]


def test_region_outside_the_images_is_an_error(monkeypatch):
    with pytest.raises(ConfigurationError, match=r"rectangles.*expected areas inside images of \(2, 3\)"):
        check(RegionSum(rectangles=[[0, 3, 0, 2]], positive=[0]), monkeypatch, evidence(np.ones((2, 1, 3, 2, 3))))
    for wrong in ([], [[0, 0, 0, 1]]):
        with pytest.raises(ConfigurationError, match="none empty"):
            RegionSum(rectangles=wrong)


def test_a_class_that_is_not_explained_is_an_error(monkeypatch):
    with pytest.raises(ConfigurationError, match=r"class 2.*\[0, 1\]"):
        check(RegionSum(rectangles=[[0, 1, 0, 1]], positive=[2]), monkeypatch, evidence(np.ones((2, 1, 2, 2, 3)), targets=(0, 1)))


def test_mass_excess_is_a_share_of_the_positive_mass_beyond_the_unnamed_classes(monkeypatch):
    values = np.zeros((2, 1, 3, 2, 3))
    values[:, 0, :, 0, 0] = [6.0, 3.0, 1.0]
    values[:, 0, :, 1, 1] = [-100.0, -50.0, -1.0]  # negative values are not mass
    found = check(MassExcess(named=[1]), monkeypatch, evidence(values))
    assert found["value"].tolist() == pytest.approx([(3 - 1) / 10, 3 / 10])  # the predicted class 0 is not in the rest
    both = check(MassExcess(named=[0, 1]), monkeypatch, evidence(values))
    assert both["value"].tolist() == pytest.approx([(6 - 1) / 10, (3 - 1) / 10, 9 / 10])
    assert both["expected"].tolist() == ["> 0", "> 0", ""]
    swapped = values[:, :, [0, 2, 1]]
    assert check(MassExcess(named=[1]), monkeypatch, evidence(swapped))["holds"].tolist() == [False, None]


def test_mass_excess_of_an_image_without_positive_mass_is_undefined(monkeypatch):
    found = check(MassExcess(named=[1]), monkeypatch, evidence(-np.ones((2, 1, 3, 2, 3))))
    assert found["value"].isna().all()
    assert found["holds"].tolist() == [None, None]


def test_largest_mass_compares_the_predicted_class_with_all_others(monkeypatch):
    values = np.zeros((2, 2, 3, 2, 3))
    values[:, :, :, 0, 0] = [[[3, 2, 1], [2, 3, 1]], [[3, 2, 1], [2, 2, 1]]]  # yes, no; yes, tie
    values[:, :, 1, 1, 1] = -9.0
    found = check(LargestMass(at_least=0.9), monkeypatch, evidence(values))
    assert found["value"].tolist() == [0.5]
    assert found["expected"].tolist() == [">= 0.9"]
    predicted = np.array([[[0.8, 0.15, 0.05], [0.15, 0.8, 0.05]]] * 2)
    values[1, 1, :, 0, 0] = [2, 4, 1]
    found = check(LargestMass(at_least=0.9), monkeypatch, evidence(values, probabilities=predicted))
    assert (found["value"].tolist(), found["holds"].tolist()) == ([1.0], [True])


def test_next_classes_are_those_after_the_predicted_one_in_any_order(monkeypatch):
    probabilities = [[[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]], [[0.7, 0.1, 0.2], [0.2, 0.1, 0.7]]]
    values = np.zeros((2, 2, 3, 2, 3))
    one = check(NextClasses(named=[1]), monkeypatch, evidence(values, probabilities=probabilities))
    assert one["value"].tolist() == [0.5, 0.5]
    two = check(NextClasses(named=[1, 2]), monkeypatch, evidence(values, probabilities=probabilities))
    assert two["value"].tolist() == [0.5, 1.0, 0.5]  # the second image's predicted class is 2: next are 1 and 0
    assert two["claim"].iloc[0] == "share in which the next most probable classes are dog and cow"


def test_next_classes_are_reported_once_for_all_explainers(monkeypatch):
    values = np.zeros((2, 1, 3, 2, 3))
    found = check(NextClasses(named=[1]), monkeypatch, evidence(values, explainer="a"), evidence(values, explainer="b"))
    assert found["explainer"].tolist() == ["", ""]


def test_likely_classes_are_the_true_extremes(monkeypatch):
    probabilities = [[[0.7, 0.2, 0.1]], [[0.7, 0.1, 0.2]]]
    found = check(LikelyClasses(), monkeypatch, evidence(np.zeros((2, 1, 3, 2, 3)), probabilities=probabilities))
    assert found["value"].tolist() == pytest.approx([0.7, 0.2, 0.1])
    assert found["note"].tolist() == [
        "cat (2 of 2 seeds)",
        "dog (1 of 2 seeds), cow (1 of 2 seeds)",
        "cow (1 of 2 seeds), dog (1 of 2 seeds)",
    ]
    assert found["claim"].iloc[2] == "test image 0, true class cat: probability of the least likely class"
    assert found["holds"].tolist() == [None] * 3
    assert (found["images"] == 1).all()
    assert (found["seeds"] == 2).all()


def test_likely_classes_average_log_odds(monkeypatch):
    probabilities = [[[0.9, 0.06, 0.04]], [[0.5, 0.3, 0.2]]]
    found = check(LikelyClasses(), monkeypatch, evidence(np.zeros((2, 1, 3, 2, 3)), probabilities=probabilities))
    assert found["value"].iloc[0] == pytest.approx(0.75)  # odds 9 and 1: 3 on the geometric mean
    assert ((found["low"] > 0) & (found["high"] < 1)).all()


class Chosen(ExplanationClaim):
    """Lets the choice of images be looked at."""

    def rows(self, results):
        return []


CHOICE = evidence(
    np.zeros((2, 4, 3, 1, 1)),
    labels=[0, 0, 1, 1],
    probabilities=[
        [[0.9, 0.1, 0], [0.6, 0.4, 0], [0.4, 0.6, 0], [0.8, 0.2, 0]],
        [[0.8, 0.2, 0], [0.3, 0.7, 0], [0.3, 0.7, 0], [0.9, 0.1, 0]],
    ],
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [0, 10, 20, 30]),
        ({"indices": [10, 30]}, [10, 30]),
        ({"true_class": 1}, [20, 30]),
        ({"correct": True}, [0, 20]),  # image 10 is right with one seed only
        ({"correct": False}, [30]),
        ({"confidence": [0.8, 0.9]}, [0, 30]),  # means .85, .65, .65, .85
        ({"confidence": [0.6, 0.65], "true_class": 0}, [10]),
    ],
)
def test_images_are_chosen_for_all_seeds_together(fields, expected):
    assert Chosen(**fields).choose(CHOICE).index.tolist() == expected


def test_a_choice_without_images_is_said(monkeypatch):
    found = check(LargestMass(topic="birds", true_class=2), monkeypatch, CHOICE).iloc[0]
    assert (found["topic"], found["claim"], found["holds"], found["images"]) == ("birds", "nothing to check it on", None, 0)


def test_object_mass_is_the_share_on_bright_pixels_for_the_predicted_class(monkeypatch):
    """Image 0 has four bright pixels of six, image 1 two: class 0 is predicted, the others' values must not count."""
    values = np.full((2, 2, 3, 2, 3), 100.0)
    values[:, 0, 0] = [[1.0, 3.0, -5.0], [1.0, 1.0, 2.0]]
    values[:, 1, 0] = [[-1.0, 4.0, 1.0], [0.0, 0.0, 1.0]]
    found = check(ObjectMass(brighter_than=0.2), monkeypatch, evidence(values, IMAGES))
    shares, areas = np.array([6 / 8, 2 / 6]), np.array([4 / 6, 2 / 6])
    np.testing.assert_allclose(found["value"], [shares.mean(), (shares / areas).mean()])
    assert found["expected"].tolist() == ["", "> 1"]
    dimmer = check(ObjectMass(brighter_than=0.05), monkeypatch, evidence(values, IMAGES))
    assert not np.allclose(dimmer["value"], found["value"])
    none = check(ObjectMass(), monkeypatch, evidence(-np.abs(values), IMAGES))
    assert none["value"].isna().all()
