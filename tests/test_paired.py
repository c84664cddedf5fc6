"""Scores side by side: means over shared images, and the best control."""

import numpy as np
import pytest

from xaibench.paired import Scored

FAMILIES = {"lime": "perturbation", "sobel": "control", "random": "control", "constant": "control"}
NAN = np.nan


def scored(sign=1.0, **values):
    arrays = {name: np.asarray(value, dtype=float) for name, value in values.items()}
    return Scored({}, "m", "f", arrays, {name: FAMILIES[name] for name in arrays}, sign)


def test_means_are_those_of_shared_images():
    found = scored(-1.0, lime=[[1, 2], [3, 4], [9, 9]], sobel=[[1, 1], [2, 2], [NAN, 1]])
    np.testing.assert_array_equal(found.means(), [[-2, -3], [-1.5, -1.5]])


@pytest.mark.filterwarnings("error")
def test_without_a_shared_image_there_is_no_mean():
    found = scored(lime=[[1, 2], [NAN, 4]], sobel=[[NAN, 1], [2, 2]]).means()
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
