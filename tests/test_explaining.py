"""Block by block, an explanation is what it is at once; and what is noted beside it."""

import dataclasses

import pytest
import torch
from torch import nn

from xaibench import explaining
from xaibench.cost import measure
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explaining import FLAGS, completeness_error, declared_passes, explained, flags
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng

RNG = Rng(0, 0, "test")


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3)).eval().requires_grad_(False)
    targets = torch.tensor([[0, 1], [1, 2], [2, 0], [1, 0], [0, 2]])
    return Problem(model, torch.rand(5, 1, 3, 4), targets, targets[:, 0], torch.arange(5), torch.zeros(1, 1, 3, 4))


@pytest.mark.parametrize("images", [1, 2, 5, 9])
def test_blocks_change_nothing_and_their_passes_are_declared(problem, monkeypatch, images):
    explainer = IntegratedGradients(steps=4)
    whole = explainer(problem, RNG)
    monkeypatch.setattr(explaining, "BLOCK_IMAGES", images)
    with measure(problem.model) as counted:
        found = explained(explainer, problem, RNG)
    torch.testing.assert_close(found.values, whole.values)
    torch.testing.assert_close(found.total, whole.total)
    assert counted.passes == declared_passes(explainer, problem)
    assert explained(Gradient(), problem, RNG).total is None


def test_large_attributions_make_small_blocks(problem, monkeypatch):
    sizes = []

    @dataclasses.dataclass(frozen=True)
    class Watched(Gradient):
        def __call__(self, problem, rng):
            sizes.append(len(problem.images))
            return super().__call__(problem, rng)

    monkeypatch.setattr(explaining, "BLOCK_BYTES", 2 * 2 * 12 * 4 + 1)  # two images with two targets
    explained(Watched(), problem, RNG)
    assert sizes == [2, 2, 1]


def test_flags_tell_what_is_wrong_with_a_map():
    values = torch.arange(24.0).reshape(2, 2, 2, 1, 3).repeat(1, 1, 1, 1, 1)
    values[0, 1] = torch.tensor([1.0, -2.0]).reshape(2, 1, 1)
    values[1, 0] = 0.0
    values[1, 1, 0, 0, 0] = torch.nan
    assert [[FLAGS[number] for number in row] for row in flags(Attributions(values)).tolist()] == [
        ["", "constant"],
        ["all zero", "not finite"],
    ]


def test_completeness_error_is_the_distance_of_sum_and_total():
    values = torch.tensor([1.0, 2.0, -0.5]).reshape(1, 1, 1, 1, 3)
    torch.testing.assert_close(completeness_error(Attributions(values, torch.tensor([[3.0]]))), torch.tensor([[0.5]]))
    with pytest.raises(ValueError, match="total=None"):
        completeness_error(Attributions(values))
