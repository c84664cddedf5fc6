from dataclasses import replace

import pytest
import torch
from explainer_cases import RNG, conv_problem

from xaibench.explainers.degraded import Degraded
from xaibench.explainers.gradient import Gradient

KINDS = ["noise", "blur", "shift", "negate"]


def maps(kind, strength, problem=None):
    return Degraded(of=Gradient(), kind=kind, strength=strength)(problem or conv_problem(), RNG).values


def original():
    return Gradient()(conv_problem(), RNG).values


@pytest.mark.parametrize("kind", KINDS)
def test_no_strength_leaves_the_order_of_the_pixels(kind):
    assert torch.equal(maps(kind, 0).flatten(2).argsort(2), original().flatten(2).argsort(2))
    assert kind == "noise" or torch.equal(maps(kind, 0), original())


@pytest.mark.parametrize("kind", ["noise", "blur"])
def test_the_stronger_the_less_it_correlates_with_the_original(kind):
    before = original().flatten(2)
    found = [maps(kind, strength).flatten(2) for strength in (0, 0.25, 0.5, 0.75, 1)]
    correlations = [torch.cosine_similarity(before, one, dim=2).mean().item() for one in found]
    assert correlations == sorted(correlations, reverse=True)
    assert len(set(correlations)) == 5


def test_noise_is_mixed_with_the_map_of_unit_root_mean_square():
    before = original()
    unit = before / before.square().mean((2, 3, 4), keepdim=True).sqrt()
    pure, half = maps("noise", 1), maps("noise", 0.5)
    assert torch.allclose(half, (unit + pure) / 2, atol=1e-6)
    assert abs(pure.mean()) < 0.1
    assert abs(pure.std() - 1) < 0.1
    assert not torch.allclose(pure[0, 0], pure[0, 1])
    assert not torch.allclose(pure[0, 0], pure[1, 0])


def test_a_map_of_zeros_stays_without_nan():
    problem = conv_problem()
    problem.model[-1].weight.data.zero_()
    assert not maps("noise", 0, problem).any()
    assert maps("noise", 0.5, problem).isfinite().all()


def test_shift_and_negate_are_what_they_say():
    before = original()
    height, width = before.shape[3:]
    assert torch.equal(maps("negate", 1), -before)
    assert not maps("negate", 0.5).any()
    moved = maps("shift", 1)
    down, right = round(height / 2), round(width / 2)
    assert torch.equal(moved[..., down:, right:], before[..., : height - down, : width - right])
    assert not torch.equal(moved, before)


def test_what_is_explained_is_its_own_output():
    problem = conv_problem()
    found = Degraded(of=Gradient(), kind="negate", strength=0, output="probability")(problem, RNG).values
    assert torch.equal(found, Gradient(output="probability")(problem, RNG).values)
    assert Degraded(of=Gradient()).unsupported(replace(problem, model=None))
