"""Mean attribution maps beside influence: against scipy pixel by pixel, and from a real study."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from xaibench.influence_agreement import MEAN, Ranked, markdown, unit_ranks


def analysis(replicates=40, kinds=3, side=6, seed=0):
    """An influence analysis of 3 classes: pixels of the last row cannot be saturated."""
    draw = np.random.default_rng(seed)
    truth = draw.normal(size=(kinds, side, side))
    moved = np.ones((2, side, side), dtype=bool)
    moved[1, -1] = False
    contrasts = truth + 0.1 * draw.normal(size=(replicates, kinds, side, side))
    tensors = {"probability_contrast": truth, "probability_contrasts": contrasts.astype(np.float32), "moved": moved}
    return {name: torch.from_numpy(value) for name, value in tensors.items()}


def test_the_correlation_is_spearmans_of_the_mean_map_over_the_pixels_that_move():
    tensors, draw = analysis(), np.random.default_rng(1)
    values, targets = draw.normal(size=(20, 1, 2, 6, 6)), draw.integers(0, 3, size=(20, 1))
    found = Ranked.of(tensors).beside(values, targets)
    for kind in range(3):
        mean = values[targets[:, 0] == kind].sum(axis=(1, 2)).mean(axis=0)
        expected = stats.spearmanr(mean[:-1].ravel(), tensors["probability_contrast"][kind, :-1].numpy().ravel()).statistic
        assert found[0, kind] == pytest.approx(expected, abs=1e-12)
    assert found.shape == (41, 3)
    assert found[1:].std(axis=0).min() > 0


def test_a_pixel_that_a_replicate_cannot_reach_is_left_out_and_the_last_row_says_nothing():
    tensors, draw = analysis(), np.random.default_rng(2)
    values, targets = draw.normal(size=(9, 1, 1, 6, 6)), np.zeros((9, 1), dtype=int)
    before = Ranked.of(tensors).beside(values, targets)
    values[..., -1, :] += 100
    np.testing.assert_array_equal(before, Ranked.of(tensors).beside(values, targets))
    tensors["probability_contrasts"][3, 1, 0, 0] = torch.nan
    assert not Ranked.of(tensors).chosen[0, 0]
    assert np.isfinite(Ranked.of(tensors).beside(values, targets)[:, 0]).all()


def test_what_has_no_mean_map_is_undefined_and_one_bad_map_is_left_out():
    values, targets = np.random.default_rng(3).normal(size=(5, 1, 1, 6, 6)), np.array([[0], [0], [0], [1], [2]])
    ranked = Ranked.of(analysis())
    found = ranked.beside(values, targets)
    assert np.isnan(found[:, 1:]).all()  # one image each
    spoiled = np.concatenate([values, np.full_like(values[:1], np.nan)])
    np.testing.assert_array_equal(found, ranked.beside(spoiled, np.concatenate([targets, [[0]]])))
    assert np.isnan(ranked.beside(np.ones_like(values), targets)).all()  # constant
    nearly = 1 + 1e-14 * np.random.default_rng(5).normal(size=values.shape)
    assert np.isnan(ranked.beside(nearly, targets)).all()  # constant but for rounding


def test_the_interval_of_the_replicates_holds_the_agreement_of_more_images():
    """A method that is the influence plus noise: the estimate from 30 images lies in the interval of 300 and the other way round."""
    tensors, draw = analysis(replicates=200), np.random.default_rng(4)
    truth = tensors["probability_contrast"][0].numpy()
    values = truth + 3 * draw.normal(size=(300, 1, 1, 6, 6))
    few, many = (Ranked.of(tensors).beside(part, np.zeros((len(part), 1), dtype=int))[:, 0] for part in (values[:30], values))
    assert np.quantile(few[1:], 0.975) - np.quantile(few[1:], 0.025) > np.quantile(many[1:], 0.975) - np.quantile(many[1:], 0.025)
    assert many[0] > 0.8


def test_ranks_have_norm_one_and_equal_values_share_one():
    found = unit_ranks(np.array([[3.0, 1.0, 1.0, 2.0], [5.0, 5.0, 5.0, 5.0]]))
    assert found[0] @ found[0] == pytest.approx(1)
    assert found[0, 1] == found[0, 2]
    assert np.isnan(found[1]).all()


def test_the_page_sorts_by_agreement_and_marks_controls():
    numbers = {"correlation": [0.1, 0.6], "correlation_low": [0.0, 0.5], "correlation_high": [0.2, 0.7]}
    over = {
        "over_control": [np.nan, 0.5],
        "over_control_low": [np.nan, 0.3],
        "over_control_high": [np.nan, 0.7],
        "control": [np.nan, "random"],
    }
    names = {"dataset": "d", "model": "m", "influence": "q", "explainer": ["random", "gradient"], "family": ["control", "gradient"]}
    page = markdown(pd.DataFrame(names | numbers | over | {"class": MEAN}))
    assert page.index("| gradient | +0.60 (+0.50 to +0.70) | +0.50 (+0.30 to +0.70) |") < page.index("| *random* (control) | +0.10")
    assert "Best control: random." in page
