"""Entropy, effective complexity and total variation against a few plain lines of each definition, on single maps."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ranking_cases import RNG, conv_problem, random_attributions

from xaibench.explainers.gradient import Gradient
from xaibench.metrics.effective_complexity import EffectiveComplexity
from xaibench.metrics.entropy import Entropy
from xaibench.metrics.total_variation import TotalVariation
from xaibench.problem import Attributions, Passes

METRICS = [Entropy(), EffectiveComplexity(threshold=0.3), TotalVariation()]


def entropy(grid, log=math.log, size=abs):
    numbers = [size(value) for row in grid for value in row]
    return -sum(value / sum(numbers) * log(value / sum(numbers)) for value in numbers if value)


def effective_complexity(grid, threshold=0.3, size=abs, relative=True):
    numbers = [size(value) for row in grid for value in row]
    limit = threshold * max(numbers) if relative else threshold
    return sum(value > limit for value in numbers) / len(numbers)


def total_variation(grid, rows=True, columns=True, scaled=True, around=False):
    height, width = len(grid), len(grid[0])
    down = [abs(grid[i + 1][j] - grid[i][j]) for i in range(height - 1) for j in range(width)]
    right = [abs(grid[i][j + 1] - grid[i][j]) for i in range(height) for j in range(width - 1)]
    back = [abs(grid[i][0] - grid[i][-1]) for i in range(height)]
    found = down * rows + right * columns + back * around
    return sum(found) / len(found) / (max(abs(value) for row in grid for value in row) if scaled else 1)


ORACLES = {Entropy: entropy, EffectiveComplexity: effective_complexity, TotalVariation: total_variation}
MUTANTS = {
    Entropy: [lambda grid: entropy(grid, log=math.log2), lambda grid: entropy(grid, size=lambda value: value**2)],
    EffectiveComplexity: [
        lambda grid: effective_complexity(grid, size=float),
        lambda grid: effective_complexity(grid, relative=False),
        lambda grid: effective_complexity(grid, threshold=0.2),
    ],
    TotalVariation: [
        lambda grid: total_variation(grid, rows=False),
        lambda grid: total_variation(grid, columns=False),
        lambda grid: total_variation(grid, scaled=False),
        lambda grid: total_variation(grid, around=True),
    ],
}
POOLS = {"sum": lambda maps: maps.sum(2), "abs_sum": lambda maps: maps.abs().sum(2), "max": lambda maps: maps.amax(2)}


def problem_of(batch=4, targets=2, height=6, width=5):
    problem = conv_problem(batch=batch, targets=targets)
    return replace(problem, images=torch.rand(batch, 3, height, width))


def scored(metric, maps):
    return metric(problem_of(*maps.shape[:2], *maps.shape[3:]), Attributions(maps), RNG).values["value"]


def check(metric, maps, oracle):
    found, pooled = scored(metric, maps), POOLS[metric.pooling](maps.double())
    for b, image in enumerate(pooled.tolist()):
        for t, grid in enumerate(image):
            assert found[b, t].item() == pytest.approx(oracle(grid), rel=1e-5)


@pytest.mark.parametrize("pooling", POOLS)
@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_scores_are_those_of_the_definition(metric, pooling):
    metric, maps = replace(metric, pooling=pooling), random_attributions(problem_of()).values
    check(metric, maps, ORACLES[type(metric)])
    for mutant in MUTANTS[type(metric)]:
        with pytest.raises((AssertionError, ValueError)):
            check(replace(metric, pooling="sum"), maps, mutant)


def test_ends():
    maps = torch.zeros(3, 1, 1, 6, 5)
    maps[0] = -0.4
    maps[1, 0, 0, 2, 3] = -5.0
    ends = {Entropy: [math.log(30), 0.0], EffectiveComplexity: [1.0, 1 / 30], TotalVariation: [0.0, 4 / (5 * 5 + 6 * 4)]}
    for metric in METRICS:
        found = scored(metric, maps).flatten()
        assert found[:2].tolist() == pytest.approx(ends[type(metric)])
        assert found[2].isnan()
        assert metric.higher_is_better is False


def test_a_chessboard_varies_most():
    board = (torch.arange(6)[:, None] + torch.arange(5)) % 2 * 2.0 - 1
    assert scored(TotalVariation(), 7 * board[None, None, None]).item() == pytest.approx(2.0)


def test_the_threshold_is_relative_to_the_map_and_not_reached_by_what_is_equal_to_it():
    maps = torch.tensor([8.0, 4.0, -2.0, 1.0, 0.0]).expand(1, 1, 1, 6, 5)
    assert scored(EffectiveComplexity(threshold=0.25), maps).item() == pytest.approx(2 / 5)
    assert scored(EffectiveComplexity(threshold=0.0), maps).item() == pytest.approx(4 / 5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_nan_and_infinite_maps_have_no_score(metric, bad):
    maps = random_attributions(problem_of()).values
    maps[1, 0, 2, 3, 3] = bad
    assert scored(metric, maps).isnan().nonzero().tolist() == [[1, 0]]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**20), scale=st.floats(1e-6, 1e6))
def test_property_scale_and_sign_do_not_matter(seed, scale):
    maps = random_attributions(problem_of(), channels=1, seed=seed).values
    for metric in METRICS:
        assert torch.allclose(scored(metric, -scale * maps), scored(metric, maps), rtol=1e-5)
    assert (scored(Entropy(), maps**3) < scored(Entropy(), maps)).all()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_images_are_scored_alone_and_without_the_model(metric):
    maps = torch.randn(20, 1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    problem = replace(problem_of(20, 1, 28, 28), model=None)
    found = metric(problem, Attributions(maps), RNG).values["value"]
    assert torch.equal(scored(metric, maps[7:9]), found[7:9])
    assert metric.passes(problem, Gradient()) == Passes()
    assert metric.unsupported(problem, Gradient()) is None


def test_a_wrong_shape_is_refused():
    for metric in METRICS:
        with pytest.raises(ValueError, match=r"\(4, 2, 3, 6, 6\).*\(4, 3, 6, 5\)"):
            metric(problem_of(), Attributions(torch.zeros(4, 2, 3, 6, 6)), RNG)
