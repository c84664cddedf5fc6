"""The error against exact Shapley values: brute force and closed forms."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from ranking_cases import RNG, conv_problem, random_attributions

from xaibench import cost
from xaibench.explainers.exact_shapley import ExactShapley
from xaibench.explainers.gradient import Gradient
from xaibench.metrics import exact_shapley_error
from xaibench.metrics.exact_shapley_error import ExactShapleyError
from xaibench.models.additive import AdditiveNetwork
from xaibench.problem import Attributions, Passes
from xaibench.removal import Constant, Marginal
from xaibench.superpixels import Pixels


def additive_problem(size=2, batch=3):
    torch.manual_seed(4)
    problem = conv_problem(batch=batch)
    network = AdditiveNetwork((3, size, size), 4, 8).eval().requires_grad_(False)
    network.dense.weight.mul_(10)
    images, background = torch.rand(batch, 3, size, size), torch.rand(5, 3, size, size)
    return replace(problem, model=network, images=images, background=background, chunk=2)


def brute_force(problem, b, t):
    """Shapley values of 2 x 2 pixels, by all orders; absent pixels take the values of each background image, and outputs are averaged."""
    target = problem.targets[b, t]

    def output(present):
        kept = torch.tensor([pixel in present for pixel in range(4)]).reshape(2, 2)
        return problem.model(torch.where(kept, problem.images[b], problem.background))[:, target].double().mean().item()

    worth = {present: output(present) for count in range(5) for present in map(frozenset, itertools.combinations(range(4), count))}
    values = [0.0] * 4
    for order in itertools.permutations(range(4)):
        for place, pixel in enumerate(order):
            values[pixel] += (worth[frozenset(order[: place + 1])] - worth[frozenset(order[:place])]) / 24
    return values


def test_known_values_are_those_of_brute_force():
    problem = additive_problem()
    found = exact_shapley_error.shapley_values(problem)
    assert found.shape == (3, 2, 2, 2)
    for b, t in itertools.product(range(3), range(2)):
        expected = brute_force(problem, b, t)
        assert found[b, t].flatten().tolist() == pytest.approx(expected, abs=1e-5)
        fewer = brute_force(replace(problem, background=problem.background[:3]), b, t)
        assert found[b, t].flatten().tolist() != pytest.approx(fewer, abs=1e-3)


def test_exact_shapley_values_have_no_error_and_those_of_another_absence_do():
    problem = additive_problem()
    assert ExactShapleyError().unsupported(problem, ExactShapley()) is None
    exact, black = (ExactShapley(superpixels=Pixels(), removal=removal)(problem, RNG) for removal in (Marginal(samples=5), Constant(0.0)))
    found = ExactShapleyError()(problem, exact, RNG).values
    assert (found["value"] < 1e-4).all()
    assert torch.allclose(found["correlation"], torch.ones(3, 2))
    assert (ExactShapleyError()(problem, black, RNG).values["value"] > 0.05).all()


def test_the_error_is_relative_and_the_correlation_is_pearsons():
    problem = additive_problem(size=5)
    known, values = exact_shapley_error.shapley_values(problem), random_attributions(problem).values
    found = ExactShapleyError()(problem, Attributions(values), RNG).values
    for b, t in itertools.product(range(3), range(2)):
        map_, truth = values[b, t].double().sum(0).flatten(), known[b, t].flatten()
        squares = sum((a - b) ** 2 for a, b in zip(map_.tolist(), truth.tolist(), strict=True))
        expected = (squares / sum(value**2 for value in truth.tolist())) ** 0.5
        assert found["value"][b, t].item() == pytest.approx(expected, rel=1e-5)
        assert found["correlation"][b, t].item() == pytest.approx(torch.corrcoef(torch.stack([map_, truth]))[0, 1].item(), abs=1e-5)


def test_ends_of_the_error():
    problem = additive_problem()
    known = exact_shapley_error.shapley_values(problem)[:, :, None].float()
    expected = {0.0: (1.0, math.nan), 1.0: (0.0, 1.0), 3.0: (2.0, 1.0), -1.0: (2.0, -1.0)}
    for factor, (error, correlation) in expected.items():
        found = ExactShapleyError()(problem, Attributions(factor * known), RNG).values
        assert torch.allclose(found["value"], torch.full((3, 2), error), atol=1e-5)
        assert torch.allclose(found["correlation"], torch.full((3, 2), correlation), equal_nan=True)
    constant = ExactShapleyError()(problem, Attributions(torch.full((3, 2, 1, 2, 2), 0.1)), RNG).values
    assert constant["correlation"].isnan().all()
    equal = replace(problem, background=problem.images[:1].clone(), images=problem.images[:1].expand(3, -1, -1, -1))
    assert ExactShapleyError()(equal, Attributions(known), RNG).values["value"].isnan().all()
    known[2, 1, 0, 1, 1] = torch.nan
    assert ExactShapleyError()(problem, Attributions(known), RNG).values["value"].isnan().nonzero().tolist() == [[2, 1]]


def test_shapley_values_must_be_known_and_asked_for():
    metric, problem = ExactShapleyError(), additive_problem()
    assert metric.passes(problem, Gradient()) == Passes()
    with cost.measure(problem.model) as counted:
        metric(problem, random_attributions(problem), RNG)
    assert counted.passes == Passes()
    assert "contributions" in metric.unsupported(conv_problem(), Gradient())
    assert "logits" in metric.unsupported(problem, Gradient(output="probability"))
    assert "background" in metric.unsupported(replace(problem, background=problem.background[:0]), Gradient())
