"""Growing spheres: layers, the distance of a boundary, rounds that can be counted, and the paper's greedy loop; mutants fail."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from counterfactual_cases import RNG, constant_problem, conv_pair_problem, counted, linear_pair_problem, make_problem, weights_of
from torch import nn

from xaibench.counterfactuals import growing_spheres
from xaibench.counterfactuals.growing_spheres import GrowingSpheres
from xaibench.problem import Passes

CONV = GrowingSpheres(radius=4.0, samples=20, most_rounds=12)


class Outside(nn.Module):
    """Class 1 for images farther than a distance from the grey one, else class 0. A black box."""

    def __init__(self, distance):
        super().__init__()
        self.distance, self.seen = distance, []

    def forward(self, images):
        away = torch.linalg.vector_norm(images.flatten(1) - 0.5, dim=1)
        self.seen.append(away)
        return nn.functional.one_hot((away > self.distance).long(), 2).float()


def grey_problem(distance, batch=3, chunk=7):
    problem = make_problem(Outside(distance), torch.full((batch, 1, 8, 9), 0.5), torch.ones(batch, 1, dtype=torch.int64), chunk)
    problem.model.seen.clear()
    return problem


def rounds_of(problem):
    """Distances of the drawn images: (rounds, pairs x samples), for 10 samples, without the base class's own passes."""
    away = torch.cat(problem.model.seen)[len(problem.images) : -len(problem.images)]
    return away.view(-1, len(problem.images) * 10)


def check_layers():
    """Of a classifier that never gives the target: each layer lies around the last, and half the images in its outer 1 % (72 values)."""
    problem = grey_problem(torch.inf)
    GrowingSpheres(radius=0.2, samples=10, most_rounds=5, sparse=False)(problem, RNG)
    away = rounds_of(problem)
    assert len(away) == 5
    for number, distances in enumerate(away):
        assert ((distances >= 0.2 * number - 1e-5) & (distances <= 0.2 * (number + 1) + 1e-5)).all()
    share = (away[1] / 0.4) ** 72  # uniform in volume, but for the hollow 2^-72
    assert share.mean().item() == pytest.approx(0.5, abs=0.2)


def check_halving(distance=0.3):
    """Balls of 1 and .5 reach beyond the distance, that of .25 does not; the layer from .25 to .5 does."""
    problem = grey_problem(distance)
    found, spent = counted(GrowingSpheres(radius=1.0, samples=10, sparse=False), problem)
    assert spent.forward == found.forward.sum() == 3 * 4 * 10
    limits = rounds_of(problem).amax(1)
    assert torch.allclose(limits, torch.tensor([1.0, 0.5, 0.25, 0.5]), rtol=0.05)
    away = (found.images[:, 0] - problem.images).flatten(1).norm(dim=1)
    expected = rounds_of(problem).view(4, 3, 10).transpose(0, 1).flatten(1)
    expected = torch.where(expected > distance, expected, torch.inf).amin(1)
    assert torch.allclose(away, expected)


def check_growing():
    """Layers up to 2.5 beyond 2.2."""
    found, spent = counted(GrowingSpheres(radius=0.5, samples=10, sparse=False), grey_problem(2.2))
    assert spent.forward == found.forward.sum() == 3 * 5 * 10
    assert found.found.all()


def check_hollow():
    """In two dimensions a ball reaches its middle, a layer does not."""
    problem = make_problem(Outside(torch.inf), torch.full((3, 1, 1, 2), 0.5), torch.ones(3, 1, dtype=torch.int64))
    problem.model.seen.clear()
    GrowingSpheres(radius=0.05, samples=10, most_rounds=4, sparse=False)(problem, RNG)
    assert (rounds_of(problem)[3] >= 0.15 - 1e-6).all()


@pytest.mark.parametrize("check", [check_layers, check_halving, check_growing, check_hollow])
def test_layers_follow_the_paper(check):
    check()


def plane_problem():
    return linear_pair_problem(batch=4, shape=(1, 1, 2), scale=6.0, chunk=64)


def check_distance():
    """On a linear classifier of two values it tends to the distance of the boundary."""
    problem = plane_problem()
    weight, bias = weights_of(problem)
    boundary = -(problem.images.flatten(1).double() @ weight + bias) / weight.norm()
    projections = problem.images.flatten(1).double() + boundary[:, None] * weight / weight.norm()
    assert ((projections > 0) & (projections < 1)).all()
    found = GrowingSpheres(radius=0.02, samples=2000, most_rounds=40, sparse=False)(problem, RNG)
    assert found.found.all()
    ratio = (found.images[:, 0] - problem.images).flatten(1).norm(dim=1) / boundary
    assert (ratio >= 1 - 1e-6).all()
    assert (ratio < 1.02).all()


def test_the_distance_tends_to_that_of_the_boundary():
    check_distance()


def linear_radius(patch):
    patch.setattr(growing_spheres, "radii", lambda u, inner, outer, size: inner[:, None] + (outer - inner)[:, None] * u)


def on_the_ball(patch):
    patch.setattr(growing_spheres, "radii", lambda u, inner, outer, size: outer[:, None] * u ** (1 / size))


def one_direction(patch):
    patch.setattr(growing_spheres, "unit", lambda vectors: torch.eye(vectors.shape[1])[:1].expand(len(vectors), -1))


def no_length(patch):
    patch.setattr(growing_spheres, "unit", lambda vectors: vectors / vectors.shape[1])


@pytest.mark.parametrize(
    ("mutant", "check"),
    [(linear_radius, check_layers), (no_length, check_layers), (on_the_ball, check_hollow), (one_direction, check_distance)],
)
def test_mutants_of_the_layers_are_rejected(mutant, check, monkeypatch):
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check()


# --- values that are put back


def greedy(model, original, image, target):
    """Algorithm 2, value by value."""
    best, now = image.clone(), image.clone()
    while model(now[None]).argmax() == target:
        best = now.clone()
        change = (now - original).abs().flatten()
        open_ = [(float(change[i]), i) for i in range(len(change)) if change[i] > 0]
        now.view(-1)[min(open_)[1]] = original.reshape(-1)[min(open_)[1]]
    return best


@lru_cache
def put_back_one_by_one():
    """The problem, where an image is found, and what is left of it."""
    problem = linear_pair_problem(batch=8)  # weights of both signs: the target is often lost and won again
    dense = replace(CONV, sparse=False)(problem, RNG)
    assert dense.found.sum() >= 6
    expected = dense.images.clone()
    for row, column in dense.found.nonzero().tolist():
        original, image = problem.images[row], dense.images[row, column]
        expected[row, column] = greedy(problem.model, original, image, problem.targets[row, column])
        assert (expected[row, column] != original).sum() < (image != original).sum()
    return problem, dense.found, expected


def check_greedy():
    problem, where, expected = put_back_one_by_one()
    found = CONV(problem, RNG)
    assert torch.equal(found.found, where)
    assert torch.equal(found.images, expected)


@pytest.mark.parametrize("prefixes", [1, 5, 16, 1000])
def test_values_are_put_back_as_in_the_papers_loop(prefixes, monkeypatch):
    monkeypatch.setattr(growing_spheres, "PREFIXES", prefixes)
    check_greedy()


def test_the_loop_rejects_mutants(monkeypatch):
    put_back = GrowingSpheres._put_back
    monkeypatch.setattr(GrowingSpheres, "_put_back", lambda self, problem, pairs, images: (images, torch.zeros_like(pairs.targets)))
    with pytest.raises(AssertionError):
        check_greedy()
    monkeypatch.setattr(GrowingSpheres, "_put_back", put_back)
    monkeypatch.setattr(torch.Tensor, "cumprod", lambda values, dim: values.long())  # goes on beyond the first that loses the target
    with pytest.raises(AssertionError):
        check_greedy()


# --- contract


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_passes_are_those_reported_and_within_the_bound(chunk, sparse):
    problem = conv_pair_problem(chunk=chunk)
    explainer = replace(CONV, sparse=sparse)
    found, spent = counted(explainer, problem)
    most = explainer.most_passes(problem)
    assert spent == Passes(int(found.forward.sum()))
    assert 0 < found.forward.max() <= most.forward


def test_a_pair_does_not_depend_on_batch_order_neighbors_or_chunk():
    problem = conv_pair_problem(batch=5)
    together = CONV(problem, RNG)
    order = torch.tensor([3, 0, 4])
    for part, rows in ((problem.take(order), order), (replace(problem, chunk=3), slice(None)), (problem.take(slice(2, 3)), slice(2, 3))):
        alone, expected = CONV(part, RNG), together.take(rows)
        for name in ("found", "forward"):
            assert torch.equal(getattr(alone, name), getattr(expected, name))
        assert torch.allclose(alone.images, expected.images, atol=1e-6)


def test_draws_differ_between_pairs_rounds_and_seeds():
    problem = grey_problem(torch.inf, batch=2)
    drawn = []
    problem.model.register_forward_pre_hook(lambda _, inputs: drawn.append(inputs[0].clone()))
    for rng in (RNG, replace(RNG, seed=4)):
        GrowingSpheres(radius=0.2, samples=10, most_rounds=2, sparse=False)(problem, rng)
    images = torch.cat(drawn).flatten(1) - 0.5
    images = images[images.norm(dim=1) > 1e-6]
    images = images / images.norm(dim=1, keepdim=True)
    products = (images @ images.T).fill_diagonal_(0).abs()
    assert len(images) >= 80
    assert products.max() < 0.6  # random directions of 72 values; equal ones give 1


@pytest.mark.parametrize("logits", [(1.0, 0.0, 0.0), (torch.nan, 0.0, 0.0)])
def test_where_the_target_is_never_given_nothing_is_found_within_the_limit(logits):
    problem = constant_problem(logits)
    explainer = GrowingSpheres(samples=6, most_rounds=3)
    found, spent = counted(explainer, problem)
    assert not found.found.any()
    assert (found.forward == 18).all()
    assert spent.forward == 18 * found.asked.sum()
    assert torch.equal(found.images, problem.images[:, None].expand_as(found.images))


def test_the_confidence_that_is_asked_for_is_reached():
    problem = plane_problem()
    found = GrowingSpheres(radius=0.05, confidence=0.6)(problem, RNG)
    assert found.found.all()
    assert (problem.model(found.images[:, 0]).softmax(1)[:, 1] >= 0.6).all()
