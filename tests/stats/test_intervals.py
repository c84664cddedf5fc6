"""Intervals of a mean over images crossed with seeds: hand-computed, against scipy, and by simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as reference

from xaibench.stats.intervals import (
    ONE_IMAGE,
    ONE_SEED,
    TWO_SEEDS,
    crossed_interval,
    image_weights,
    images_needed,
    ranks_of,
    resampled_interval,
    wilson_interval,
)


def simulated(images: int, seeds: int, seed_sd: float, runs: int = 5000) -> np.ndarray:
    """(images, seeds, runs) scores with true mean 0: image sd 1, residual sd .5."""
    rng = np.random.default_rng([images, seeds, int(10 * seed_sd)])
    scores = rng.standard_normal((images, seeds, runs))
    scores *= 0.5
    scores += rng.standard_normal((images, 1, runs))
    scores += seed_sd * rng.standard_normal((1, seeds, runs))
    return scores


def pooled_coverage(scores: np.ndarray) -> float:
    """How often the interval that takes all scores for independent holds the true mean."""
    flat = scores.reshape(-1, scores.shape[-1])
    half = reference.t.ppf(0.975, len(flat) - 1) * flat.std(axis=0, ddof=1) / np.sqrt(len(flat))
    return float((np.abs(flat.mean(axis=0)) <= half).mean())


def test_hand_computed():
    # Images' means 2, 3, 7; seeds' means 3, 5; grand mean 4. A = 2 (4 + 1 + 9) / 2 = 14, B = 3 (1 + 1) / 1 = 6.
    # Residuals +-1 in the first two rows, 0 in the third: E = (4 * 1) / 2 = 2.
    scores = np.array([[0.0, 4.0], [3.0, 3.0], [6.0, 8.0]])
    found = crossed_interval(scores)
    variance, df = (14 + 6 - 2) / 6, (14 + 6 - 2) ** 2 / (14**2 / 2 + 6**2 / 1 + 2**2 / 2)
    half = reference.t.ppf(0.975, df) * np.sqrt(variance)
    assert (found.mean, found.images, found.seeds, found.undefined, found.note) == (4, 3, 2, 0, TWO_SEEDS)
    np.testing.assert_allclose([found.df, found.low, found.high], [df, 4 - half, 4 + half], rtol=1e-13)


def test_vanishing_seed_effect_is_set_to_zero():
    # Both seeds have the mean 4, so B = 0 < E: what is left is the t interval over the images' means.
    scores = np.array([[1.0, 3.0], [4.0, 2.0], [7.0, 7.0]])
    expected = reference.ttest_1samp(scores.mean(axis=1), 0).confidence_interval()
    found = crossed_interval(scores)
    np.testing.assert_allclose([found.low, found.high, found.df], [*expected, 2], rtol=1e-13)


def test_vanishing_image_effect_is_set_to_zero():
    scores = np.array([[1.0, 3.0], [4.0, 2.0], [7.0, 7.0]]).T
    expected = reference.ttest_1samp(scores.mean(axis=0), 0).confidence_interval()
    found = crossed_interval(scores)
    np.testing.assert_allclose([found.low, found.high, found.df], [*expected, 2], rtol=1e-13)


def test_both_effects_vanish():
    # Rows and columns have the mean 0; E = 4 / 1, the variance of the mean E / 4, one degree of freedom.
    found = crossed_interval([[1.0, -1.0], [-1.0, 1.0]])
    assert (found.mean, found.df) == (0, 1)
    assert found.high == pytest.approx(reference.t.ppf(0.975, 1))


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_one_seed_is_the_t_interval_over_images(level):
    scores = np.random.default_rng(0).normal(3, 2, 17)
    expected = reference.ttest_1samp(scores, 0).confidence_interval(level)
    found = crossed_interval(scores[:, None], level)
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-13)
    assert (found.df, found.images, found.seeds, found.note) == (16, 17, 1, ONE_SEED)


def test_one_image_is_the_t_interval_over_seeds():
    scores = np.random.default_rng(0).normal(3, 2, 5)
    expected = reference.ttest_1samp(scores, 0).confidence_interval()
    found = crossed_interval(scores[None])
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-13)
    assert (found.df, found.images, found.note) == (4, 1, ONE_IMAGE)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("images", [50, 500])
@pytest.mark.parametrize("seed_sd", [0.0, 0.1, 0.2, 0.3])
def test_coverage(images, seeds, seed_sd):
    scores = simulated(images, seeds, seed_sd)
    found = crossed_interval(scores)
    assert 0.92 <= ((found.low <= 0) & (found.high >= 0)).mean() <= 0.97
    if seed_sd == 0.3:  # the mutant: without the seed's variance the same check fails
        assert pooled_coverage(scores) < 0.92


@pytest.mark.parametrize("shape", [(6, 1), (6, 2), (1, 4), (6, 4)])
def test_equal_values_have_no_width(shape):
    found = crossed_interval(np.full(shape, 0.1))
    assert found.mean == found.low == found.high == 0.1
    assert found.df == min(size - 1 for size in shape if size > 1)


def test_one_image_and_one_seed_have_no_interval():
    found = crossed_interval([[0.5]])
    assert (found.mean, found.df, found.note) == (0.5, 0, f"{ONE_SEED}; {ONE_IMAGE}")
    assert np.isnan(found.low)
    assert np.isnan(found.high)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_undefined_images_are_left_out_for_all_seeds_and_counted(hole):
    scores = np.random.default_rng(0).normal(size=(9, 3))
    scores[2] = hole
    scores[5, 1] = hole
    found, expected = crossed_interval(scores), crossed_interval(scores[[0, 1, 3, 4, 6, 7, 8]])
    for name in ("mean", "low", "high", "df"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-12)
    assert (found.undefined, found.images, expected.undefined) == (4, 7, 0)


@pytest.mark.parametrize("scores", [np.full((4, 3), np.nan), np.empty((0, 3))])
def test_no_defined_image(scores):
    found = crossed_interval(scores)
    assert np.isnan([found.mean, found.low, found.high]).all()
    assert (found.images, found.df, found.undefined) == (0, 0, scores.size)


def test_trailing_axes_are_separate_problems():
    scores = np.random.default_rng(0).normal(size=(9, 3, 2, 4))
    scores[1, 2, 0, 3] = np.nan
    found = crossed_interval(scores)
    assert found.mean.shape == (2, 4)
    for position in np.ndindex(2, 4):
        single = crossed_interval(scores[(slice(None), slice(None), *position)])
        for name in ("mean", "low", "high", "df", "images", "undefined"):
            assert getattr(found, name)[position] == pytest.approx(getattr(single, name), rel=1e-12)


def test_large_offsets_do_not_cost_accuracy():
    scores = np.random.default_rng(0).integers(0, 8, (20, 3)) / 8
    near, far = crossed_interval(scores), crossed_interval(scores + 2.0**40)
    assert far.high - 2.0**40 == pytest.approx(near.high, abs=1e-3)
    assert far.df == pytest.approx(near.df, rel=1e-12)


@pytest.mark.parametrize(("shape", "level", "message"), [((3,), 0.95, "shape"), ((3, 0), 0.95, "seed"), ((3, 2), 95, "level=95")])
def test_refuses(shape, level, message):
    with pytest.raises(ValueError, match=message):
        crossed_interval(np.ones(shape), level)


def test_wilsons_interval_is_the_published_one():
    """Newcombe 1998 (Statistics in Medicine 17), Table I, method 3: 81 of 263, 15 of 148, 0 of 20 and 1 of 29."""
    for found, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):
        assert wilson_interval(found / count, count) == pytest.approx((low, high), abs=5e-5)
        exact = reference.binomtest(found, count).proportion_ci(method="wilson")
        assert wilson_interval(found / count, count) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_ranks_tie_where_only_rounding_differs():
    last = [1.0, np.nextafter(1.0, 2), np.nextafter(1.0, 0)]
    assert ranks_of([2.0, *last, -3.0, 1 + 1e-8]).tolist() == [1, 4, 4, 4, 6, 2]
    for scale in (1e-300, 1e-5, 3.0, 1e300):
        assert ranks_of(scale * np.array([0.3, 0.1 + 0.2, 0.4, 0.0])).tolist() == [2.5, 2.5, 1, 4]
    values = np.random.default_rng(0).integers(0, 6, size=(30, 8)).astype(float)
    assert (ranks_of(values) == reference.rankdata(-values, axis=1)).all()


def test_images_needed_has_defined_ends():
    assert np.isnan(images_needed([1.0]))
    assert images_needed([-1.0, 1.0]) == np.inf
    assert images_needed([1.0, 1.0]) == 2


def test_the_interval_of_resampled_numbers_adds_images_and_seeds():
    draw = np.random.default_rng(6)
    values = np.concatenate([[[1.0], [2.0], [4.0]], draw.normal([[1.0], [2.0], [4.0]], 0.5, (3, 400))], axis=1)
    mean, low, high = resampled_interval(values)
    halves = [np.subtract(*np.quantile(one[1:], [0.975, 0.025])) / 2 for one in values]
    spread = 4.302653 * np.std([1, 2, 4], ddof=1) / np.sqrt(3)  # t with 2 degrees of freedom
    assert (mean, high - mean, mean - low) == pytest.approx((7 / 3, *[np.hypot(np.mean(halves), spread)] * 2), rel=1e-6)
    one, low, high = resampled_interval(values[:1])
    assert (one, high - low) == pytest.approx((1.0, 2 * halves[0]))
    assert np.isnan(resampled_interval([[1.0, np.nan, 2.0]])[1:]).all()


def test_an_image_has_the_same_weights_whatever_other_images_there_are():
    whole, part = image_weights((3, 4, 9, 11), 400), image_weights((4, 11), 400)
    assert whole[0].tolist() == [0.25] * 4
    assert np.allclose(whole.sum(axis=1), 1)
    assert np.allclose(part[:, 0] / part[:, 1], whole[:, 1] / whole[:, 3])
    deviations = np.std(image_weights(tuple(range(200)), 4000)[1:] @ np.arange(200.0))
    assert deviations == pytest.approx(np.std(np.arange(200.0)) / np.sqrt(200), rel=0.05)  # the standard error of the mean
