"""Several features at once: against one at a time, closed forms and scipy's optimizer."""

import numpy as np
import pytest
from scipy import optimize

from xaibench.influence.joint import jointly
from xaibench.influence.reweighting import reweighted


def test_one_feature_is_what_it_is_alone():
    generator = np.random.default_rng(0)
    features, reads = generator.gamma(0.5, size=(80, 1)), generator.random((80, 2))
    alone = reweighted(features, reads)
    for place in range(2):
        found = jointly(features, alone.targets[0, place : place + 1])
        assert found.residual < 1e-12
        assert np.allclose(found.weights @ reads, alone.means[0, place])
        assert found.multipliers[0] == pytest.approx(alone.multiplier[0, place])


def test_independent_features_are_moved_one_by_one():
    """On a full grid the joint weights are the products of each feature's own."""
    grid = np.array([(a, b) for a in (0.0, 0.3, 1.0) for b in (0.0, 2.0)])
    found = jointly(grid, np.array([0.7, 0.5]))
    first, second = (jointly(grid[:, [f]], np.array([target])).weights for f, target in ((0, 0.7), (1, 0.5)))
    assert np.allclose(found.weights, first * second * 6)


@pytest.mark.parametrize("seed", range(4))
def test_the_divergence_is_the_least_that_the_targets_allow(seed):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(12, 2)) @ np.array([[1.0, 0.8], [0.0, 0.3]])
    targets = generator.dirichlet(np.ones(12)) @ features  # inside the hull
    found = jointly(features, targets)
    start = np.full(12, 1 / 12)
    constraints = [{"type": "eq", "fun": lambda w: np.array([w.sum() - 1, *(w @ features - targets)])}]
    divergence = lambda w: float((w * np.log(12 * w)).sum())  # noqa: E731
    best = optimize.minimize(divergence, start, bounds=[(1e-12, 1)] * 12, constraints=constraints, options={"ftol": 1e-14, "maxiter": 2000})
    assert found.residual < 1e-10
    assert np.allclose(found.weights @ features, targets)
    assert divergence(found.weights) <= best.fun + 1e-8
    assert np.allclose(found.weights, best.x, atol=1e-4)


def test_units_do_not_matter_and_a_copied_feature_adds_nothing():
    generator = np.random.default_rng(5)
    features = generator.random((50, 2))
    targets = np.array([0.6, 0.35])
    expected = jointly(features, targets).weights
    assert np.allclose(jointly(features * [1e4, 1e-4] + 2, targets * [1e4, 1e-4] + 2).weights, expected)
    twice = np.column_stack([features, features[:, 0]])
    assert np.allclose(jointly(twice, np.append(targets, targets[0])).weights, expected)
    assert np.isnan(jointly(twice, np.append(targets, targets[0] + 0.1)).weights).all()  # contradicts the first


@pytest.mark.parametrize("targets", [[1.0, 1.0], [0.9, 0.9], [1.5, 0.2]])
def test_what_no_weights_reach_is_nan(targets):
    """The images form a triangle; the first target is beyond its longest side, though each alone could be reached."""
    found = jointly(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.2, 0.2]]), np.array(targets))
    assert np.isnan(found.weights).all()
    assert np.isnan(found.multipliers).all()
    assert np.isnan(found.residual)
