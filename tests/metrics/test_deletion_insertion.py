"""Deletion and insertion against closed forms, brute force and loops."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ranking_cases import (
    AREA_FAULTS,
    CURVE_FAULTS,
    RNG,
    conv_problem,
    linear_problem,
    mutants,
    pixel_orders,
    random_attributions,
    without_pixels,
)

from xaibench.explainers.gradient import Gradient
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.insertion import Insertion
from xaibench.problem import Attributions, Problem
from xaibench.removal import Blur, Constant, Marginal, TrainingMean


def closed_form(problem, effects, metric):
    """Logit curves of f(x) = w x + b when pixels become 0: f less the cumulated effects, or b plus them, at every fraction."""
    downwards = effects.sum(dim=2).flatten(2).sort(dim=2, descending=True).values
    cumulated = torch.nn.functional.pad(downwards.cumsum(dim=2), (1, 0))
    pixels = downwards.shape[2]
    counts = [round(s * pixels / metric.steps) for s in range(metric.steps + 1)]
    with torch.inference_mode():
        start = problem.images if isinstance(metric, Deletion) else torch.zeros_like(problem.images)
        logits = problem.model(start).gather(1, problem.targets)
    sign = -1 if isinstance(metric, Deletion) else 1
    return logits[..., None] + sign * cumulated[..., counts]


def check_closed_form(metric):
    problem, effects = linear_problem()
    curve = metric(problem, Attributions(effects), RNG).curves["logit"]
    assert torch.allclose(curve, closed_form(problem, effects, metric), atol=2e-6)


@pytest.mark.parametrize("kind", [Deletion, Insertion])
@pytest.mark.parametrize("steps", [1, 7, 36])
def test_the_curve_of_a_linear_logit_has_its_closed_form_at_all_points(kind, steps):
    check_closed_form(kind(steps=steps, output="logit"))


@pytest.mark.parametrize("kind", [Deletion, Insertion])
@pytest.mark.parametrize("fault", CURVE_FAULTS)
def test_the_closed_form_rejects_mutants(kind, fault, monkeypatch):
    mutants(monkeypatch)[fault]()
    with pytest.raises(AssertionError):
        check_closed_form(kind(steps=7, output="logit"))


@pytest.mark.parametrize("kind", [Deletion, Insertion])
def test_the_closed_form_rejects_the_other_metric_and_the_other_poolings(kind):
    problem, effects = linear_problem()
    expected = closed_form(problem, effects, kind(steps=7, output="logit"))
    other = Insertion if kind is Deletion else Deletion
    faulty = [other(steps=7, output="logit")] + [kind(steps=7, output="logit", pooling=pooling) for pooling in ("abs_sum", "max")]
    for metric in [*faulty, kind(steps=7, removal=Constant(1.0), output="logit"), kind(steps=7)]:
        assert not torch.allclose(metric(problem, Attributions(effects), RNG).curves[metric.output], expected, atol=1e-3)


# --- brute force over the rankings of 2 x 2 pixels


def every_ranking(seed, kind):
    """The problem repeated 24 times, once for each order of its 4 pixels, the areas, and the position of the best one."""
    problem, effects = linear_problem(batch=1, channels=2, size=2, targets=1, seed=seed)
    repeated = problem.take(torch.zeros(24, dtype=torch.int64))
    maps = torch.tensor(list(permutations([4.0, 3.0, 2.0, 1.0]))).reshape(24, 1, 1, 2, 2)
    areas = kind(steps=4, output="logit")(repeated, Attributions(maps), RNG).values["value"].flatten()
    return problem, effects, areas, areas.min() if kind is Deletion else areas.max()


@pytest.mark.parametrize("kind", [Deletion, Insertion])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_all_rankings_is_the_one_by_true_effect(kind, seed):
    problem, effects, areas, best = every_ranking(seed, kind)
    by_effect = kind(steps=4, output="logit")(problem, Attributions(effects), RNG).values["value"].flatten()
    assert torch.allclose(by_effect, best, atol=1e-6)
    assert ((areas - best).abs() < 1e-5).sum() == 1


@pytest.mark.parametrize("kind", [Deletion, Insertion])
@pytest.mark.parametrize("mutate", [torch.neg, torch.abs, lambda effects: effects.roll(1, dims=4)])
def test_brute_force_rejects_mutants(kind, mutate):
    missed = 0
    for seed in range(5):
        problem, effects, _, best = every_ranking(seed, kind)
        found = kind(steps=4, output="logit")(problem, Attributions(mutate(effects)), RNG).values["value"].flatten()
        missed += not torch.allclose(found, best, atol=1e-5)
    assert missed >= 4  # taking the absolute value may happen to leave one order as it is


# --- loops


def loop_probability(problem, image, b, t):
    with torch.inference_mode():
        return problem.model(image[None]).softmax(dim=1)[0, problem.targets[b, t]].item()


def trapezoids(points, axis):
    return sum((points[i] + points[i + 1]) / 2 * (axis[i + 1] - axis[i]) for i in range(len(points) - 1))


def check_loops(metric, steps):
    problem = conv_problem()
    attributions = random_attributions(problem)
    scores = metric(problem, attributions, RNG)
    orders, pixels = pixel_orders(attributions), 36
    for b in range(4):
        for t in range(2):
            points, counts = [], [round(s * pixels / steps) for s in range(steps + 1)]
            for count in counts:
                gone = orders[b][t][:count] if isinstance(metric, Deletion) else orders[b][t][count:]
                points.append(loop_probability(problem, without_pixels(problem.images[b], gone), b, t))
            axis = [count / pixels for count in counts]
            assert scores.curves["probability"][b, t].tolist() == pytest.approx(points, rel=1e-5, abs=1e-7)
            assert scores.values["value"][b, t].item() == pytest.approx(trapezoids(points, axis), rel=1e-5)
            assert scores.fractions.tolist() == axis


@pytest.mark.parametrize("kind", [Deletion, Insertion])
def test_scores_equal_loops_over_images_targets_and_steps(kind):
    check_loops(kind(steps=5), 5)


@pytest.mark.parametrize("kind", [Deletion, Insertion])
@pytest.mark.parametrize("fault", AREA_FAULTS)
def test_loops_reject_mutants(kind, fault, monkeypatch):
    mutants(monkeypatch)[fault]()
    with pytest.raises(AssertionError):
        check_loops(kind(steps=5), 5)


@pytest.mark.parametrize("kind", [Deletion, Insertion])
@pytest.mark.parametrize("removal", [Constant(0.5), TrainingMean(), Blur(1.0)])
def test_the_removal_operator_decides_what_stands_at_the_empty_end(kind, removal):
    problem = conv_problem()
    nothing = torch.zeros(4, 1, 6, 6, dtype=torch.bool)
    with torch.inference_mode():
        empty, full = (
            problem.model(images).softmax(dim=1).gather(1, problem.targets)
            for images in (removal(problem.images, nothing, problem), problem.images)
        )
    curve = kind(steps=3, removal=removal)(problem, random_attributions(problem), RNG).curves["probability"]
    first, last = (full, empty) if kind is Deletion else (empty, full)
    assert torch.allclose(curve[..., 0], first, atol=1e-6)
    assert torch.allclose(curve[..., -1], last, atol=1e-6)
    assert not torch.allclose(first, last, atol=1e-3)


# --- identities


@settings(deadline=None, max_examples=20, derandomize=True, database=None)
@given(seed=st.integers(0, 2**20), steps=st.integers(1, 12), size=st.sampled_from([3, 4]))
def test_property_insertion_is_deletion_of_the_least_relevant_read_backwards(seed, steps, size):
    problem, _ = linear_problem(batch=3, size=size, seed=seed % 7)
    values = random_attributions(problem, channels=1, seed=seed).values
    inserted = Insertion(steps=steps)(problem, Attributions(values), RNG)
    deleted = Deletion(steps=steps)(problem, Attributions(-values), RNG)
    assert torch.equal(inserted.curves["probability"], deleted.curves["probability"].flip(-1))
    assert torch.allclose(inserted.fractions, 1 - deleted.fractions.flip(0))
    assert torch.allclose(inserted.values["value"], deleted.values["value"], atol=1e-6)


def test_reversed_attributions_swap_the_ends():
    problem = conv_problem()
    attributions = random_attributions(problem)
    reverse = Attributions(-attributions.values)
    most = Deletion(steps=6)(problem, attributions, RNG).curves["probability"]
    least = Deletion(steps=6)(problem, reverse, RNG).curves["probability"]
    assert torch.equal(Insertion(steps=6)(problem, attributions, RNG).curves["probability"], least.flip(-1))
    assert torch.equal(Insertion(steps=6)(problem, reverse, RNG).curves["probability"], most.flip(-1))
    assert not torch.allclose(most, least, atol=1e-3)


@pytest.mark.parametrize("kind", [Deletion, Insertion])
def test_area_and_curve_of_a_constant_classifier_are_its_probability(kind):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
    torch.nn.init.zeros_(model[1].weight)
    model[1].bias.data = torch.tensor([0.0, 1.0]).log1p()  # odds 1 : 2
    model.requires_grad_(False)
    one = torch.ones(1, dtype=torch.int64)
    problem = Problem(model, torch.rand(1, 1, 3, 3), one[:, None], one, index=one, background=torch.rand(2, 1, 3, 3))
    scores = kind(steps=4)(problem, Attributions(torch.rand(1, 1, 1, 3, 3)), RNG)
    assert torch.allclose(scores.curves["probability"], torch.tensor(2 / 3))
    assert scores.values["value"].item() == pytest.approx(2 / 3, rel=1e-6)


@pytest.mark.parametrize("metric", [Deletion, Insertion])
def test_a_removal_without_the_background_that_it_needs_is_refused_before_anything_runs(metric):
    torch.manual_seed(0)
    model, one = torch.nn.Flatten(), torch.zeros(2, 1, dtype=torch.int64)
    problem = Problem(model, torch.rand(2, 1, 3, 3), one, one[:, 0], one[:, 0], torch.rand(4, 1, 3, 3))
    without = replace(problem, background=problem.background[:0])
    assert "needs background images" in metric(removal=Marginal(samples=3)).unsupported(without, Gradient())
    assert metric(removal=Marginal(samples=1)).unsupported(problem, Gradient()) is None
