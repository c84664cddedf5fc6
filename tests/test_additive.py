"""The additive classifier: its Shapley values are what they are said to be."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench.component import ConfigurationError
from xaibench.explainers.deep_lift import DeepLift
from xaibench.explainers.deep_shap import DeepShap
from xaibench.explainers.guided_backpropagation import GuidedBackpropagation
from xaibench.explainers.lrp_epsilon_plus import LrpEpsilonPlus
from xaibench.models.additive import Additive, AdditiveNetwork
from xaibench.problem import Problem
from xaibench.seeding import Rng, global_seed

CLASSES = 3
shapes = pytest.mark.parametrize("shape", [(1, 3, 3), (3, 3, 3), (1, 2, 4)])


def built(shape: tuple[int, int, int], classes: int = CLASSES, hidden: int = 5, seed: int = 0) -> AdditiveNetwork:
    with global_seed(seed):
        return Additive(hidden=hidden).build(shape, classes).eval().requires_grad_(False)


def images_of(shape: tuple[int, int, int], count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def brute_force(model: nn.Module, image: Tensor, background: Tensor) -> Tensor:
    """(K, H, W): the definition, over all coalitions of pixels; the value of a coalition is the mean logit over the background."""
    height, width = image.shape[1:]
    count = height * width
    present = torch.tensor(list(itertools.product([False, True], repeat=count)))
    value = torch.stack([model(torch.where(kept.view(height, width), image, background)).mean(0) for kept in present]).double()
    number = {tuple(kept): i for i, kept in enumerate(present.tolist())}
    result = torch.zeros(value.shape[1], count, dtype=torch.float64)
    for pixel, (kept, i) in itertools.product(range(count), list(number.items())):
        if not kept[pixel]:
            size = sum(kept)
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            result[:, pixel] += weight * (value[number[(*kept[:pixel], True, *kept[pixel + 1 :])]] - value[i])
    return result.view(-1, height, width).float()


@shapes
def test_contributions_are_the_exact_shapley_values(shape):
    network, (image,), background = built(shape), images_of(shape, 1), images_of(shape, 3, seed=2)
    expected = brute_force(network, image, background)
    own, others = network.contributions(image[None])[0], network.contributions(background)
    assert_close(own - others.mean(0), expected, rtol=1e-4, atol=1e-6)
    black = network.contributions(torch.zeros(1, *shape))[0]
    for wrong in (own, own - others[0], own - black, own - network.contributions(background.mean(0, keepdim=True))[0]):
        assert (wrong - expected).abs().max() > 1e-3
    assert expected.abs().mean() > 1e-3


def test_a_network_that_joins_pixels_has_other_shapley_values():
    network, (image,), background = built((1, 3, 3)), images_of((1, 3, 3), 1), images_of((1, 3, 3), 3, seed=2)
    with global_seed(0):
        network.convolution = nn.Conv2d(1, 5, 3, padding=1)
    found = network.contributions(image[None])[0] - network.contributions(background).mean(0)
    assert (found - brute_force(network, image, background)).abs().max() > 1e-2


@shapes
def test_contributions_and_bias_sum_to_the_logits(shape):
    network, images = built(shape), images_of(shape, 4)
    found = network.contributions(images)
    assert found.shape == (4, CLASSES, *shape[1:])
    assert_close(found.sum((2, 3)) + network.dense.bias, network(images))


def test_a_pixel_contributes_by_its_own_color_alone_and_not_linearly():
    network, images = built((3, 4, 5)), images_of((3, 4, 5), 2)
    images[1, :, 2, 3] = images[0, :, 2, 3]
    one, other = network.contributions(images)
    equal = (one - other).abs().amax(0) < 1e-7
    assert equal[2, 3]
    assert equal.sum() == 1
    grey = built((1, 3, 3)).contributions(torch.linspace(0, 1, 101).view(-1, 1, 1, 1).expand(-1, 1, 3, 3))
    assert (grey.diff(dim=0).amax(0) - grey.diff(dim=0).amin(0)).min() > 1e-4  # slopes differ, of every pixel and class


@pytest.mark.parametrize("channels", [1, 3])
def test_every_unit_bends_among_the_colors(channels):
    network = built((channels, 8, 8), hidden=64)
    active = network.activation(network.convolution(images_of((channels, 8, 8), 40))) > 0
    share = active.float().mean((0, 2, 3))
    assert ((share > 0) & (share < 1)).float().mean() > 0.95


def test_parameters_and_the_width_are_as_declared():
    for hidden, channels in ((16, 1), (4, 3)):
        network = built((channels, 6, 7), classes=10, hidden=hidden)
        assert sum(parameter.numel() for parameter in network.parameters()) == hidden * (channels + 1) + hidden * 42 * 10 + 10
    with pytest.raises(ConfigurationError, match=r"Additive\.hidden=0: expected"):
        Additive(hidden=0)


def test_the_seed_decides_the_start():
    first, same, other = (list(built((1, 4, 4), seed=seed).parameters()) for seed in (0, 0, 1))
    assert all(map(torch.equal, first, same))
    assert not any(map(torch.equal, first, other))


def problem_of(shape: tuple[int, int, int]) -> Problem:
    targets = torch.arange(CLASSES).repeat(2, 1)
    labels = torch.tensor([0, 1])
    return Problem(built(shape), images_of(shape, 2), targets, labels, labels, images_of(shape, 4, seed=2))


@pytest.mark.parametrize("explainer", [DeepLift(), DeepShap(), GuidedBackpropagation(), LrpEpsilonPlus()])
def test_rule_based_explainers_understand_it(explainer):
    assert explainer.unsupported(problem_of((3, 8, 8))) is None


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 9)])
def test_deep_shap_finds_the_exact_shapley_values(shape):
    problem = problem_of(shape)
    network = problem.classifier
    found = DeepShap()(problem, Rng(0)).values.sum(2)
    assert_close(found, network.contributions(problem.images) - network.contributions(problem.background).mean(0), rtol=1e-4, atol=1e-5)
