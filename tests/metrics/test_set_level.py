"""Consistency and sufficiency of Dasgupta et al. against loops over pairs of images."""

from dataclasses import replace

import pytest
import torch
from ranking_cases import RNG, conv_problem

from xaibench import cost
from xaibench.explainers.gradient import Gradient
from xaibench.metrics.consistency import Consistency
from xaibench.metrics.dasgupta_sufficiency import DasguptaSufficiency
from xaibench.metrics.set_level import predicted
from xaibench.problem import Attributions, Passes
from xaibench.superpixels import Slic, Squares

BATCH, TARGETS, CLASSES = 60, 2, 3
QUARTERS = Squares(side=2)
METRICS = [Consistency(superpixels=QUARTERS), DasguptaSufficiency(superpixels=QUARTERS, distance=0.8)]


def problem_of(batch=BATCH, model=False):
    problem = conv_problem(batch=batch, channels=3, classes=CLASSES)
    draw = torch.Generator().manual_seed(8)
    return problem if model else replace(problem, model=None, probabilities=torch.rand(batch, CLASSES, generator=draw))


def random_maps(batch=BATCH, seed=0):
    return torch.randn(batch, TARGETS, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def quarters(grid):
    """The sums of the 2 x 2 quarters of a 6 x 6 map."""
    return [sum(grid[i][j] for i in range(r, r + 3) for j in range(c, c + 3)) for r in (0, 3) for c in (0, 3)]


def same_top(one, other, top=2, signed=True):
    def form(values):
        highest = sorted(range(4), key=lambda region: -abs(values[region]))[:top]
        return {(region, signed and values[region] > 0) for region in highest}

    return form(one) == form(other)


def near(one, other, distance=0.8, scaled=True):
    lengths = [sum(value**2 for value in values) ** 0.5 if scaled else 1.0 for values in (one, other)]
    return sum((a / lengths[0] - b / lengths[1]) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 <= distance


def loop(maps, classes, alike, leave_out=True):
    """For each (image, target): the share of the other images with a like explanation that are of its class, and how many there are."""
    shares, numbers = torch.full((len(maps), TARGETS), torch.nan), torch.zeros(len(maps), TARGETS)
    for t in range(TARGETS):
        values = [quarters(grid) for grid in maps[:, t].double().sum(1).tolist()]
        for b in range(len(maps)):
            others = [j for j in range(len(maps)) if not (leave_out and j == b) and alike(values[b], values[j])]
            numbers[b, t] = len(others)
            if others:
                shares[b, t] = sum(classes[j] == classes[b] for j in others) / len(others)
    return shares, numbers


def check(metric, alike, **fault):
    problem, maps = problem_of(), random_maps()
    found = metric(problem, Attributions(maps), RNG).values
    shares, numbers = loop(maps, problem.probabilities.argmax(1).tolist(), alike, **fault)
    assert torch.equal(found["others"], numbers)
    assert torch.allclose(found["value"], shares, equal_nan=True)
    assert shares.isnan().any()
    assert ((shares > 0) & (shares < 1)).any()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_scores_equal_loops_over_pairs_and_the_loops_reject_mutants(metric):
    metric = replace(metric, top=3) if isinstance(metric, Consistency) else replace(metric, distance=0.35)
    alike, others = {
        Consistency: (lambda a, b: same_top(a, b, top=3), [lambda a, b: same_top(a, b), lambda a, b: same_top(a, b, 3, signed=False)]),
        DasguptaSufficiency: (lambda a, b: near(a, b, 0.35), [lambda a, b: near(a, b, 0.4), lambda a, b: near(a, b, 0.35, scaled=False)]),
    }[type(metric)]
    check(metric, alike)
    for mutant in others:
        with pytest.raises(AssertionError):
            check(metric, mutant)
    with pytest.raises(AssertionError):
        check(metric, alike, leave_out=False)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_an_explanation_that_is_the_same_for_all_images_has_the_frequency_of_the_class(metric):
    problem = problem_of()
    classes = problem.probabilities.argmax(1)
    expected = torch.stack([(classes == own).sum() - 1 for own in classes]) / (BATCH - 1)
    level = torch.rand(BATCH, 1, 1, 1, 1)  # of any size: how large a constant is makes no other explanation
    for maps in (level.expand(-1, TARGETS, 1, 6, 6), torch.zeros(BATCH, TARGETS, 1, 6, 6)):
        found = metric(problem, Attributions(maps.contiguous()), RNG).values["value"]
        assert torch.allclose(found, expected[:, None].expand(-1, TARGETS))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_an_explanation_that_tells_the_class_is_perfect_and_one_that_is_unique_has_no_score(metric):
    problem, regions = problem_of(), torch.eye(4)
    classes = problem.probabilities.argmax(1)
    maps = regions[classes].reshape(-1, 1, 1, 2, 2).repeat_interleave(3, 3).repeat_interleave(3, 4).expand(-1, TARGETS, -1, -1, -1).clone()
    assert (metric(problem, Attributions(maps), RNG).values["value"] == 1).all()
    maps[5] = -maps[5]
    maps[9] = torch.nan
    found = metric(problem, Attributions(maps), RNG).values
    assert found["value"].isnan().nonzero()[:, 0].unique().tolist() == [5, 9]
    others = (classes == classes[:, None]).sum(1) - 1 - (classes == classes[5]).long() - (classes == classes[9]).long()
    whole = [b for b in range(BATCH) if b not in (5, 9)]
    assert torch.equal(found["others"][whole, 0], others[whole].float())


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_order_does_not_matter_nor_the_scale_of_a_map(metric):
    problem, maps = problem_of(), random_maps()
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(1))
    found = metric(problem, Attributions(maps), RNG).values["value"]
    again = metric(problem.take(order), Attributions(3.0 * maps[order]), RNG).values["value"]
    assert torch.allclose(again, found[order], equal_nan=True)
    assert metric.set_level


def test_classes_are_predicted_where_they_are_not_known():
    problem = problem_of(batch=9, model=True)
    with torch.inference_mode():
        assert torch.equal(predicted(problem), problem.model(problem.images).argmax(1))
    for metric in METRICS:
        with cost.measure(problem.model) as counted:
            metric(problem, Attributions(random_maps(9)), RNG)
        assert counted.passes == metric.passes(problem, Gradient()) == Passes(9)
        assert metric.passes(problem_of(batch=9), Gradient()) == Passes()


def test_what_is_missing_is_said():
    for metric in METRICS:
        assert metric.unsupported(problem_of(), Gradient()) is None
        assert "predicted classes" in metric.unsupported(replace(problem_of(), probabilities=None), Gradient())
        assert "regions of its own" in replace(metric, superpixels=Slic()).unsupported(problem_of(), Gradient())


def test_one_image_has_no_other():
    for metric in METRICS:
        found = metric(problem_of(batch=1), Attributions(random_maps(1)), RNG).values
        assert found["value"].isnan().all()
        assert (found["others"] == 0).all()
