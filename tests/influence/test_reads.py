"""What is read from predictions, its intervals, any scorer, and what is refused."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, recall_score, roc_auc_score

from xaibench.influence.reads import checked, performance
from xaibench.influence.reweighting import _quantiles, reweighted
from xaibench.influence.scorers import scores
from xaibench.influence.targets import QuantileTargets

GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.random((120, 5))
PROBABILITIES = GENERATOR.dirichlet(np.ones(3), 120)
LABELS = GENERATOR.integers(0, 3, 120)
CLASSES = ("a", "b", "c")
TAUS = (-1.0, 0.5, 1.0)
SCORERS = {
    "accuracy": lambda y, p, w: accuracy_score(y, p.argmax(1), sample_weight=w),
    "log_loss": lambda y, p, w: log_loss(y, p, sample_weight=w, labels=[0, 1, 2]),
    "brier": lambda y, p, w: brier_score_loss(y, p, sample_weight=w, scale_by_half=False, labels=[0, 1, 2]),
    "recall_b": lambda y, p, w: recall_score(y, p.argmax(1), sample_weight=w, labels=[1], average="macro"),
}


@pytest.mark.parametrize("name", list(SCORERS))
def test_scores_are_scikit_learns_with_sample_weights(name):
    reads = performance(PROBABILITIES, LABELS, CLASSES)
    assert reads.names == ("accuracy", "log_loss", "brier", "recall_a", "recall_b", "recall_c")
    found = reweighted(FEATURES, reads.values, TAUS, per=reads.per).means[..., reads.names.index(name)]
    assert np.allclose(found, scores(FEATURES, LABELS, PROBABILITIES, SCORERS[name], TAUS, QuantileTargets()))
    assert not np.allclose(found[:, 0], found[:, 2])


def test_any_scorer_gets_labels_predictions_and_weights():
    two, label = PROBABILITIES[:, :2] / PROBABILITIES[:, :2].sum(1, keepdims=True), LABELS % 2
    found = scores(FEATURES, label, two, lambda y, p, w: roc_auc_score(y, p[:, 1], sample_weight=w), (0.0, 1.0), QuantileTargets())
    assert np.allclose(found[:, 0], roc_auc_score(label, two[:, 1]))
    assert not np.allclose(found[:, 1], found[:, 0])


def test_the_recall_of_a_class_without_weight_is_nan():
    features = (LABELS == 1).astype(float)[:, None]
    reads = performance(PROBABILITIES, LABELS, CLASSES)
    found = reweighted(features, reads.values, (-1.0, 1.0), per=reads.per)
    assert np.isnan(found.means[0, 0, reads.names.index("recall_b")])  # all weight on the other classes
    assert np.isfinite(found.means[0, 0, :4]).all()
    assert np.isnan(found.means[0, 1, reads.names.index("recall_a")])


def test_the_interval_covers_what_other_images_give():
    """Of 120 samples of a known population, about 90 % of the intervals hold the population's value."""
    generator = np.random.default_rng(1)
    population = generator.integers(0, 5, 100_000) / 4.0
    read = (0.2 + 0.6 * population)[:, None]  # the mean of the read is known wherever the feature's mean goes
    noisy = (generator.random((100_000, 1)) < read).astype(float)
    hit = []
    for seed in range(120):
        rows = generator.integers(0, 100_000, 150)
        found = reweighted(population[rows, None], noisy[rows], (0.5,), resamples=60, level=0.9, seed=seed)
        hit.append(found.means_low[0, 0, 0] <= 0.2 + 0.6 * found.targets[0, 0] <= found.means_high[0, 0, 0])
    assert 0.82 < np.mean(hit) < 0.97


def test_replicates_refit_the_multiplier_to_the_same_targets():
    found = reweighted(FEATURES, np.column_stack([FEATURES[:, 0], FEATURES[:, 1]]), (0.5,), resamples=50)
    # the mean of the feature that is moved is its target in every replicate, that of another one is not
    assert np.allclose(found.means_low[0, 0, 0], found.targets[0, 0])
    assert np.allclose(found.means_high[0, 0, 0], found.targets[0, 0])
    assert found.means_high[0, 0, 1] - found.means_low[0, 0, 1] > 0.02
    assert (found.unreachable == 0).all()
    again = reweighted(FEATURES, np.column_stack([FEATURES[:, 0], FEATURES[:, 1]]), (0.5,), resamples=50)
    assert np.array_equal(found.means_low, again.means_low)


def test_the_contrast_is_that_of_the_last_and_the_first_target_in_each_replicate():
    """Where a read is the feature itself, its contrast is the same in every replicate, though its mean at other targets is not."""
    found = reweighted(FEATURES, np.column_stack([FEATURES[:, 0], FEATURES[:, 1]]), (-0.5, 0.0, 0.5), resamples=30)
    assert np.allclose(found.contrast, found.means[:, 2] - found.means[:, 0])
    assert np.allclose(found.contrast_low[0, 0], found.contrast[0, 0])
    assert found.contrast_low[0, 1] < found.contrast[0, 1] < found.contrast_high[0, 1]
    wider = (found.means_high[:, 2] - found.means_low[:, 0]) - (found.means_low[:, 2] - found.means_high[:, 0])
    assert (found.contrast_high - found.contrast_low <= wider + 1e-12).all()


def test_quantiles_of_replicates_are_numpys_over_those_that_are_defined():
    values = np.random.default_rng(2).random((21, 4, 3))
    values[:5, 1], values[:, 2, 1] = np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.nanquantile(values, [0.05, 0.95], axis=0)
    assert np.allclose(_quantiles(values, 0.05), expected, equal_nan=True)


def test_replicates_without_the_target_are_left_out_and_counted():
    features = np.zeros((40, 1))
    features[0] = 1.0
    found = reweighted(features, np.arange(40.0)[:, None], (-1.0, 1.0), resamples=400, targets=QuantileTargets(0.0))
    assert found.unreachable[0, 0] == 0
    assert found.unreachable[0, 1] == pytest.approx((1 - 1 / 40) ** 40, abs=0.08)
    assert (found.means_low[0, 1, 0], found.means_high[0, 1, 0]) == (0, 0)  # the one image with a 1


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([[0.5, 0.6]], "sums to 1.1"),
        ([[0.5, 0.5], [1.2, -0.2]], "row 1 holds -0.2"),
        ([[0.5, np.nan]], "row 0 holds nan"),
        ([0.5, 0.5], r"shape \(2,\)"),
        (np.zeros((0, 2)), r"shape \(0, 2\)"),
    ],
)
def test_what_are_no_probabilities_is_refused(probabilities, message):
    with pytest.raises(ValueError, match=message):
        checked(np.array(probabilities))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"labels of shape \(2,\): expected \(3,\)"),
        ([0, 1, 3], "from 0 to 3"),
        ([0.0, 1.0, np.nan], "float64"),
        ([-1, 0, 1], "from -1"),
    ],
)
def test_labels_that_are_missing_or_of_no_class_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        performance(PROBABILITIES[:3], np.array(labels), CLASSES)


@pytest.mark.parametrize(
    ("features", "reads", "message"),
    [
        (FEATURES[:3], PROBABILITIES[:4], r"features of shape \(3, 5\) and reads of shape \(4, 3\)"),
        (FEATURES[:0], PROBABILITIES[:0], "N and R at least 1"),
        (np.where(np.eye(3, 5), np.nan, 0.5), PROBABILITIES[:3], "features: expected finite numbers.* in 3 rows"),
        (FEATURES[:2], np.array([[np.inf], [0]]), "reads: expected finite numbers.* in 1 rows"),
    ],
)
def test_what_cannot_be_averaged_is_refused(features, reads, message):
    with pytest.raises(ValueError, match=message):
        reweighted(features, reads)
