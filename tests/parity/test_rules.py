"""Methods with rules for modules against captum's and shap's; where they differ, the definition says who is right."""

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench.explainers.deconvolution import Deconvolution
from xaibench.explainers.deep_lift import DeepLift
from xaibench.explainers.deep_shap import DeepShap
from xaibench.explainers.guided_backpropagation import GuidedBackpropagation
from xaibench.explainers.lrp_epsilon_plus import LrpEpsilonPlus
from xaibench.explainers.lrp_gamma import LrpGamma
from xaibench.problem import Explainer, Problem
from xaibench.seeding import Rng

RNG = Rng(0, 0, "parity")

# captum says that it hooks the model, and (of DeepLIFT) that it changes the gradients of activations.
pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward, )?backward hooks:UserWarning")


def network(pooling: nn.Module, activation: type[nn.Module] = nn.ReLU) -> Problem:
    torch.manual_seed(0)
    front = (nn.Conv2d(3, 6, 3), activation(), nn.Conv2d(6, 6, 3, padding=1), activation(), pooling, nn.Flatten(1))
    size = nn.Sequential(*front)(torch.zeros(1, 3, 10, 10)).numel()
    model = nn.Sequential(*front, nn.Linear(size, 8), activation(), nn.Linear(8, 4)).eval().requires_grad_(False)
    targets = torch.tensor([[0], [3], [2], [1]])
    return Problem(model, torch.rand(4, 3, 10, 10), targets, targets[:, 0], torch.arange(4), torch.rand(5, 3, 10, 10))


def agree(explainer: Explainer, problem: Problem, expected: Tensor) -> None:
    assert_close(explainer(problem, RNG).values[:, 0], expected.detach(), rtol=1e-5, atol=1e-6)


def error(values: Tensor, total: Tensor) -> float:
    """The largest deviation from completeness."""
    return float((values.sum((2, 3, 4)) - total).abs().max())


@pytest.mark.parametrize("explainer", [GuidedBackpropagation(), Deconvolution()], ids=repr)
def test_guided_backpropagation_and_deconvolution(explainer):
    from captum.attr import Deconvolution as Deconvnet
    from captum.attr import GuidedBackprop

    problem = network(nn.MaxPool2d(2))
    reference = (GuidedBackprop if isinstance(explainer, GuidedBackpropagation) else Deconvnet)(copy.deepcopy(problem.model))
    agree(explainer, problem, reference.attribute(problem.images.clone().requires_grad_(), problem.labels))


def captums_deep_lift(problem: Problem, baseline: float) -> Tensor:
    from captum.attr import DeepLift as Reference

    images = problem.images.clone().requires_grad_()
    return Reference(copy.deepcopy(problem.model)).attribute(images, torch.full_like(images, baseline), problem.labels).detach()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.Softplus])
@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_deep_lift_with_average_pooling(activation, baseline):
    """In float64: captum's quotients of nearly equal values leave an error of 2e-6 in float32, and ours one of 2e-8."""
    problem = network(nn.AvgPool2d(2), activation)
    problem = dataclasses.replace(problem, model=problem.classifier.double(), images=problem.images.double())
    agree(DeepLift(baseline=baseline), problem, captums_deep_lift(problem, baseline))


def test_deep_lift_with_max_pooling_is_complete_and_captums_is_not():
    """By the definition (Shrikumar et al., 2017, eq. 1) contributions sum to the difference of the outputs."""
    problem = network(nn.MaxPool2d(2))
    found = DeepLift()(problem, RNG)
    with torch.no_grad():
        difference = problem.model(problem.images) - problem.model(torch.zeros_like(problem.images))
    total = difference.gather(1, problem.targets)
    assert error(found.values, total) < 1e-6
    assert error(captums_deep_lift(problem, 0.0)[:, None], total) > 1e-3


def shaps(problem: Problem) -> Tensor:
    import shap

    with torch.enable_grad():
        values = shap.DeepExplainer(copy.deepcopy(problem.model), problem.background).shap_values(problem.images, check_additivity=False)
    every = torch.from_numpy(values).movedim(-1, 1).float()
    return torch.stack([every[row, target] for row, target in enumerate(problem.targets)])


def test_deep_shap_with_overlapping_windows_is_complete_and_shaps_is_not():
    """The definition (Lundberg and Lee, 2017, property 1, local accuracy) asks for completeness."""
    problem = network(nn.MaxPool2d(3, stride=1, padding=1))
    found = DeepShap()(problem, RNG)
    assert error(found.values, found.total) < 1e-6
    assert error(shaps(problem), found.total) > 1e-3


def captums_lrp(problem: Problem, convolution: Callable[[], object], dense: Callable[[], object]) -> Tensor:
    """captum changes modules: a copy, with one rule object for each module."""
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule

    model = copy.deepcopy(problem.model)
    for module in model:
        if isinstance(module, nn.Conv2d):
            module.rule = convolution()
        elif isinstance(module, nn.Linear):
            module.rule = dense()
        elif isinstance(module, nn.Flatten | nn.AvgPool2d):
            module.rule = EpsilonRule(epsilon=1e-9)
    return LRP(model).attribute(problem.images.clone().requires_grad_(), problem.labels).detach()


@pytest.mark.parametrize("pooling", [nn.MaxPool2d(2), nn.AvgPool2d(2)], ids=repr)
@pytest.mark.parametrize("gamma", [None, 0.25, 1.0])
def test_lrp(pooling, gamma):
    """captum takes biases as they are in the z+ and gamma rules, so they agree where these rules do not change them."""
    from captum.attr._utils import lrp_rules

    problem = network(pooling)
    for module in problem.classifier:
        if isinstance(module, nn.Conv2d):
            module.bias.copy_(module.bias.abs() if gamma is None else 0 * module.bias)

    def convolution() -> object:
        return lrp_rules.Alpha1_Beta0_Rule() if gamma is None else lrp_rules.GammaRule(gamma=gamma)

    expected = captums_lrp(problem, convolution, lambda: lrp_rules.EpsilonRule(epsilon=1e-9))
    explainer = LrpEpsilonPlus(epsilon=1e-9) if gamma is None else LrpGamma(gamma=gamma, epsilon=1e-9)
    agree(explainer, problem, expected)
    other = LrpGamma(gamma=0.5, epsilon=1e-9)(problem, RNG).values[:, 0]
    assert not torch.allclose(other, expected, rtol=1e-2, atol=1e-4)


def test_the_z_plus_rule_hands_down_no_more_than_there_is_and_captums_does():
    """By the definition (Bach et al., 2015, eq. 60 with alpha 1) shares are positive parts over their sum, the bias among them."""
    from captum.attr._utils import lrp_rules

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2, bias=False)).requires_grad_(False)
    model[0].bias.fill_(-0.2)
    model[3].weight.abs_()
    targets = torch.tensor([[0], [1], [1]])
    problem = Problem(model, torch.rand(3, 1, 6, 6), targets, targets[:, 0], torch.arange(3), torch.zeros(0, 1, 6, 6))
    logits = model(problem.images).gather(1, targets)
    found = LrpEpsilonPlus()(problem, RNG).values
    theirs = captums_lrp(problem, lrp_rules.Alpha1_Beta0_Rule, lambda: lrp_rules.EpsilonRule(epsilon=1e-9))
    assert (found.sum((2, 3, 4)) <= logits * (1 + 1e-5)).all()
    assert (theirs.sum((1, 2, 3)) > 1.1 * logits[:, 0]).all()
