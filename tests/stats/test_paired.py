"""Scores side by side: means over shared images, and the best control."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from xaibench.stats.paired import Scored, complete, scored_tables

FAMILIES = {"lime": "perturbation", "sobel": "control", "random": "control", "constant": "control"}
NAN = np.nan


def scored(sign=1.0, **values):
    arrays = {name: np.asarray(value, dtype=float) for name, value in values.items()}
    return Scored({}, "m", "f", arrays, {name: FAMILIES[name] for name in arrays}, sign)


def test_means_are_those_of_shared_images():
    found = scored(-1.0, lime=[[1, 2], [3, 4], [9, 9]], sobel=[[1, 1], [2, 2], [NAN, 1]])
    np.testing.assert_array_equal(found.means(["lime", "sobel"]), [[-2, -3], [-1.5, -1.5]])


@pytest.mark.filterwarnings("error")
def test_without_a_shared_image_there_is_no_mean():
    found = scored(lime=[[1, 2], [NAN, 4]], sobel=[[NAN, 1], [2, 2]]).means(["lime", "sobel"])
    assert found.shape == (2, 2)
    assert np.isnan(found).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("sign", "expected"), [(1.0, ("sobel", 2.5)), (-1.0, ("random", 1.0))])
def test_the_best_control_has_the_best_mean_of_its_own(sign, expected):
    # The constant map has no score at all; an image without one of its seeds does not count.
    values = {"sobel": [[2, 2], [3, 3], [9, NAN]], "random": [[1, 1]] * 3, "constant": [[NAN, NAN]] * 3}
    assert scored(sign, lime=[[7, 7]] * 3, **values).best_control() == expected


@pytest.mark.filterwarnings("error")
def test_no_control_with_a_score():
    assert scored(lime=[[1, 1]]).best_control() is None
    assert scored(lime=[[1, 1]], constant=[[NAN, NAN]]).best_control() is None


def test_an_explainer_is_usable_where_most_of_what_was_planned_is_defined():
    given = scored(lime=[[1, 1]] * 4, sobel=[[1, NAN]] * 2 + [[1, 1]] * 2, random=[[NAN, 1]] * 3 + [[1, 1]], constant=[[NAN, NAN]] * 4)
    assert given.usable() == ["lime", "sobel"]
    fewer = replace(given, planned={"lime": 4, "sobel": 4, "random": 2})  # it was to be scored on two images
    assert fewer.usable() == ["lime", "sobel", "random"]
    assert fewer.shared(["lime", "random"]).shape == (1, 2, 2)
    assert fewer.shared(["random", "lime"])[0, 0].tolist() == [1, 1]


def test_what_was_planned_comes_from_the_long_table():
    facts = {"dataset": "d", "model": "m", "trainer": "t", "metric": "q", "metric_family": "f", "family": "gradient", "score": "value"}
    rows = [("a", image, 1.0) for image in range(6)] + [("b", image, 1.0 if image else NAN) for image in range(2)]
    long = pd.DataFrame(rows, columns=["explainer", "index", "value"]).assign(**facts, seed=0, draw=0, target=0, flag="", metric_version=1)
    (found,) = scored_tables(long.assign(higher_is_better=True))
    assert found.planned == {"a": 6, "b": 2}
    assert found.usable() == ["a", "b"]
    others = long.assign(higher_is_better=True, seed=1, index=long["index"] + 5)  # images 0 to 5 with one seed, 5 to 10 with the other
    (found,) = scored_tables(pd.concat([long.assign(higher_is_better=True), others]))
    assert found.planned == {"a": 1, "b": 0}
    assert found.usable() == ["a"]


def test_the_largest_block_without_gaps():
    one, two, three = (scored(lime=[[1.0]], sobel=[[1.0]], random=[[1.0]]) for _ in range(3))
    three.by_explainer["sobel"][:] = NAN
    three.by_explainer["random"][:] = NAN
    assert complete([one, two, three]) == ([one, two], ["lime", "random", "sobel"])
    two.by_explainer["sobel"][:] = NAN
    assert complete([one, two, three])[1] == ["lime", "random"]
    assert complete([]) == ([], [])
