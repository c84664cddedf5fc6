"""The reweighting of images by one feature: closed forms, scipy's constrained optimizer, limits, and what must not matter."""

import numpy as np
import pytest
from scipy import optimize, special

from xaibench.influence.histograms import coded
from xaibench.influence.reweighting import reweighted
from xaibench.influence.targets import QuantileTargets, RangeTargets, quantile
from xaibench.influence.tilting import tilted

RNG = np.random.default_rng(0)


def at(values, target):
    """Weights of the images with these values whose mean is the target, and all else that is found."""
    values = np.asarray(values, dtype=np.float64)
    distinct, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    found = tilted(distinct[None], counts[None].astype(float), np.array([[target]]))
    return (found.weights[0, 0] / counts)[number], found


def divergence(weights):
    return float(special.xlogy(weights, weights * len(weights)).sum())


@pytest.mark.parametrize("target", [0.001, 0.2, 0.5, 0.9, 0.999999])
def test_two_values_have_a_closed_form(target):
    """Of a share s of ones, the odds of the weights are those of the target: xi = logit(target) - logit(s)."""
    values = np.repeat([0.0, 1.0], [70, 30])
    weights, found = at(values, target)
    assert np.allclose(weights[values == 1], target / 30, rtol=1e-12)
    assert np.allclose(weights[values == 0], (1 - target) / 70, rtol=1e-9)
    assert found.multiplier[0, 0] == pytest.approx(special.logit(target) - special.logit(0.3), abs=1e-9)
    assert found.effective[0, 0] == pytest.approx(1 / (target**2 / 30 + (1 - target) ** 2 / 70))
    assert not np.isclose(found.multiplier[0, 0], special.logit(target), atol=1e-3)  # the mutant that forgets the share


def test_two_points():
    weights, found = at([2.0, 6.0], 3.0)
    assert np.allclose(weights, [0.75, 0.25])
    assert found.multiplier[0, 0] == pytest.approx(-np.log(3) / 4)
    assert found.divergence[0, 0] == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))


def test_a_normal_feature_is_shifted():
    """Tilting a normal distribution by xi moves its mean by xi times the variance and leaves the variance."""
    values = np.random.default_rng(1).normal(3.0, 2.0, 200_000)
    weights, found = at(values, 5.0)
    assert found.multiplier[0, 0] == pytest.approx((5 - 3) / 2**2, rel=0.02)
    assert np.sqrt(weights @ (values - 5) ** 2) == pytest.approx(2, rel=0.02)
    assert found.divergence[0, 0] == pytest.approx((5 - 3) ** 2 / (2 * 2**2), rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_the_divergence_is_the_least_that_the_target_allows(seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=12).round(1)
    target = values.mean() + generator.uniform(-0.7, 0.7)
    weights, found = at(values, target)
    constraints = [{"type": "eq", "fun": lambda w: w.sum() - 1}, {"type": "eq", "fun": lambda w: w @ values - target}]
    start = np.full(12, 1 / 12)
    best = optimize.minimize(divergence, start, bounds=[(1e-12, 1)] * 12, constraints=constraints, options={"ftol": 1e-14, "maxiter": 1000})
    assert found.divergence[0, 0] == pytest.approx(divergence(weights), abs=1e-12)
    assert np.allclose(weights, best.x, atol=1e-5)
    assert divergence(weights) <= best.fun + 1e-9
    mixed = (1 - 0.5) * start + 0.5 * np.eye(12)[values.argmax() if target > values.mean() else values.argmin()]  # another with some mean
    assert divergence(at(values, mixed @ values)[0]) < divergence(mixed)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("seed", range(3))
def test_the_constraint_holds_to_the_last_digits_wherever_the_target_lies(scale, seed):
    values = np.random.default_rng(seed).gamma(0.1, size=500) * scale
    low, high = values.min(), values.max()
    targets = np.array([low + (high - low) * share for share in (1e-9, 1e-4, 0.3, 0.97, 1 - 1e-6, 1 - 1e-12)])
    distinct, counts = np.unique(values, return_counts=True)
    found = tilted(distinct[None], counts[None].astype(float), targets[None])
    assert found.residual.max() < 1e-12
    assert np.allclose(found.weights.sum(axis=2), 1)
    assert np.isfinite(found.multiplier).all()
    assert (np.diff(found.multiplier[0]) > 0).all()


def test_on_the_boundary_the_images_there_weigh_the_same_and_this_is_the_limit():
    values = np.array([0, 0, 0, 0.5, 0.7, 1, 1])
    for target, ends in ((0.0, values == 0), (1.0, values == 1)):
        weights, found = at(values, target)
        assert np.array_equal(weights, ends / ends.sum())
        assert found.multiplier[0, 0] == (np.inf if target else -np.inf)
        assert found.residual[0, 0] == 0
        assert found.effective[0, 0] == pytest.approx(ends.sum())
        assert found.divergence[0, 0] == pytest.approx(np.log(7 / ends.sum()))
        near, _ = at(values, abs(target - 1e-10))
        assert np.allclose(near, weights, atol=1e-8)


@pytest.mark.parametrize("target", [-0.1, 1.1])
def test_beyond_the_values_there_is_nothing(target):
    weights, found = at([0.0, 0.2, 1.0], target)
    assert np.isnan(weights).all()
    assert all(np.isnan(getattr(found, name)).all() for name in ("multiplier", "residual", "effective", "divergence"))


def test_a_constant_feature_stays_as_it_is():
    weights, found = at([0.3] * 5, 0.3)
    assert np.allclose(weights, 0.2)
    assert (found.multiplier[0, 0], found.residual[0, 0], found.effective[0, 0]) == (0, 0, pytest.approx(5))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, np.float64])
def test_histograms_are_those_of_a_plain_count(dtype, monkeypatch):
    levels = RNG.integers(0, 256, (50, 7)) * (RNG.random((50, 7)) < 0.6)
    features = (levels / 255).astype(dtype) if dtype in (np.float32, np.float64) else levels.astype(dtype)
    features[:, 3] = features[0, 3]
    reads, weights = RNG.random((50, 2)), RNG.integers(0, 3, (50, 2)).astype(float)
    monkeypatch.setattr("xaibench.influence.histograms.BLOCK", 50 * 4)
    blocks = list(coded(features, 0))
    assert [block.features for block in blocks] == [slice(0, 4), slice(4, 7)]
    for block in blocks:
        for weight, found in zip(weights.T, block.histograms(reads, weights), strict=True):
            for feature, row in enumerate(range(block.features.start, block.features.stop)):
                column = features[:, row].astype(np.float64)
                total, read = np.zeros(found.values.shape[1]), np.zeros((found.values.shape[1], 2))
                for image, value in enumerate(column):
                    (place,) = np.flatnonzero(found.values[feature] == value)[:1]
                    total[place] += weight[image]
                    read[place] += weight[image] * reads[image]
                assert np.allclose(found.counts[feature], total)
                assert np.allclose(found.sums[feature], read)


def test_quantiles_are_numpys():
    features = RNG.random((37, 6)).round(1)
    (block,) = coded(features, 0)
    (found,) = block.histograms(np.zeros((37, 1)), np.ones((37, 1)))
    for share in (0.0, 0.05, 0.31, 0.5, 0.95, 1.0):
        assert np.allclose(quantile(found, share), np.quantile(features, share, axis=0))


def test_means_are_those_of_the_weights_of_single_images():
    features, reads = RNG.random((60, 5)), RNG.random((60, 3))
    found = reweighted(features, reads, taus=(-1.0, -0.3, 0.0, 0.6, 1.0))
    for f in range(5):
        for s in range(5):
            weights, _ = at(features[:, f], found.targets[f, s])
            assert np.allclose(found.means[f, s], weights @ reads)
            assert found.effective[f, s] == pytest.approx(1 / (weights**2).sum())
            assert weights @ features[:, f] == pytest.approx(found.targets[f, s])
    low, high = np.quantile(features, [0.05, 0.95], axis=0)
    mean = features.mean(0)
    assert np.allclose(found.targets.T, [low, mean - 0.3 * (mean - low), mean, mean + 0.6 * (high - mean), high])
    assert np.allclose(found.means[:, 2], reads.mean(0))
    assert np.array_equal(found.moved, [[True, True, False, True, True]] * 5)


def test_targets_on_the_wrong_side_of_the_mean_move_nothing_and_say_so():
    features = np.zeros((100, 2))
    features[:3, 0], features[:, 1] = 1, 0.5
    found = reweighted(features, RNG.random((100, 1)))
    assert np.array_equal(found.moved, [[True, False], [False, False]])  # 97 % zeros: the 95 % quantile is 0
    assert np.array_equal(found.boundary, [[True, False], [False, False]])
    assert np.allclose(found.means[0, 1], found.means[1])
    inside = reweighted(features, RNG.random((100, 1)), targets=RangeTargets(margin=0.01))
    assert np.array_equal(inside.moved, [[True, True], [False, False]])
    assert np.allclose(inside.targets[0], [0.01, 0.99])


@pytest.mark.parametrize("targets", [QuantileTargets(0.1), RangeTargets(0.1)])
def test_units_and_copies_of_the_images_do_not_matter(targets):
    features, reads = RNG.random((40, 4)).round(2), RNG.random((40, 2))
    expected = reweighted(features, reads, targets=targets)
    moved = reweighted(7 * features - 3, reads, targets=targets)
    assert np.allclose(moved.means, expected.means)
    assert np.allclose(moved.multiplier * 7, expected.multiplier)
    twice = reweighted(np.concatenate([features] * 2), np.concatenate([reads] * 2), targets=expected.targets)
    assert np.allclose(twice.means, expected.means)
    assert np.allclose(twice.effective, 2 * expected.effective)
    order = RNG.permutation(40)
    assert np.allclose(reweighted(features[order], reads[order], targets=targets).means, expected.means)
