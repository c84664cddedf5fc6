"""LRP's composites against relevance handed down by matrices of contributions, layer by layer; conservation; what they refuse."""

import dataclasses

import pytest
import torch
from explainer_cases import RNG, Block, Explain, all_classes, conv_problem, frozen, make_problem, negated, next_target, rejects, scaled
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from xaibench.explainers import relevance
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.explainers.lrp_alpha2_beta1 import LrpAlpha2Beta1
from xaibench.explainers.lrp_epsilon_plus import LrpEpsilonPlus
from xaibench.explainers.lrp_gamma import LrpGamma
from xaibench.problem import Explainer, Problem

COMPOSITES: list[Explainer] = [LrpEpsilonPlus(), LrpGamma(), LrpAlpha2Beta1()]


class Shift(nn.Module):
    """Makes inputs of both signs."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.4) / 0.5


def network(activation: nn.Module, shift: bool = True, bias: bool = True) -> Problem:
    torch.manual_seed(0)
    front = (Shift() if shift else nn.Identity(), nn.Conv2d(2, 4, 3, bias=bias), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2, bias=bias))
    layers = (*front, activation, nn.Flatten(), nn.Linear(45, 8, bias=bias), nn.ReLU(), nn.Linear(8, 3, bias=bias))
    return make_problem(frozen(nn.Sequential(*layers).double()), torch.rand(3, 2, 10, 10).double(), all_classes(3, 3))


def matrix(layer: nn.Module, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """The (outputs, inputs) matrix and the (outputs,) bias of a layer, found by asking it."""
    bias = layer(torch.zeros(1, *shape).double()).flatten()
    columns = layer(torch.eye(shape.numel()).double().reshape(-1, *shape)).flatten(1) - bias
    return columns.T, bias


def shares(contributions: Tensor, rule: str) -> Tensor:
    """(outputs, inputs + 1): what each input, and last the bias, gets of an output's relevance."""
    up, down = contributions.clamp(min=0), contributions.clamp(max=0)

    def normalized(parts: Tensor) -> Tensor:
        sums = parts.sum(1, keepdim=True)
        return torch.where(sums == 0, 0.0, parts / sums)

    if rule == "plus":
        return normalized(up)
    if rule == "alpha2-beta1":
        return 2 * normalized(up) - normalized(down)
    own = torch.where(contributions.sum(1, keepdim=True) > 0, up, down)
    return normalized(contributions + (0.25 if rule == "gamma" else 0.0) * own)


def by_hand(problem: Problem, rule: str) -> Tensor:
    """(B, K, C, H, W): the relevance itself handed down, in float64."""
    layers = list(problem.classifier)
    found = []
    for image in problem.images:
        values = [image[None]]
        for layer in layers:
            values.append(layer(values[-1]))
        for target in range(3):
            handed = torch.zeros_like(values[-1])
            handed[0, target] = values[-1][0, target]
            for layer, inputs in reversed(list(zip(layers, values[:-1], strict=True))):
                handed = below(layer, inputs, handed, rule)
            found.append(handed[0])
    return torch.stack(found).unflatten(0, (-1, 3))


def below(layer: nn.Module, inputs: Tensor, handed: Tensor, rule: str) -> Tensor:
    """The relevance of a layer's inputs from that of its outputs."""
    if isinstance(layer, nn.MaxPool2d):
        _, winners = functional.max_pool2d(inputs, 2, return_indices=True)
        return functional.max_unpool2d(handed, winners, 2, output_size=inputs.shape)
    if not isinstance(layer, nn.Conv2d | nn.Linear | Shift):
        return handed.reshape(inputs.shape)
    weight, bias = matrix(layer, inputs.shape[1:])
    contributions = torch.cat([weight * inputs.flatten(), bias[:, None]], 1)
    chosen = rule if isinstance(layer, nn.Conv2d) else "epsilon"
    return (handed.flatten() @ shares(contributions, chosen))[:-1].reshape(inputs.shape)


RULES = {"plus": LrpEpsilonPlus(epsilon=1e-12), "gamma": LrpGamma(epsilon=1e-12), "alpha2-beta1": LrpAlpha2Beta1(epsilon=1e-12)}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.Tanh(), nn.LeakyReLU(0.2)], ids=repr)
@pytest.mark.parametrize("shift", [True, False])
def test_relevance_is_handed_down_as_by_matrices(rule, activation, shift):
    problem = network(activation, shift)
    expected = by_hand(problem, rule)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-6, atol=1e-8)

    check(RULES[rule])
    others = [explainer for name, explainer in RULES.items() if name != rule]
    for mutant in (*others, InputXGradient(), negated(RULES[rule]), next_target(RULES[rule]), scaled(RULES[rule])):
        rejects(check, mutant)


def test_gamma_leads_from_lrp_0_to_the_z_plus_rule():
    problem = network(nn.ReLU(), shift=False)
    found = [LrpGamma(gamma=gamma, epsilon=1e-12)(problem, RNG).values for gamma in (1e-9, 1e9)]
    assert_close(found[0], InputXGradient()(problem, RNG).values, rtol=1e-6, atol=1e-6)
    assert_close(found[1], LrpEpsilonPlus(epsilon=1e-12)(problem, RNG).values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1)], ids=repr)
def test_epsilon_alone_is_input_x_gradient(activation):
    """So there is no explainer of it."""
    problem = network(activation)
    rule = relevance.epsilon_rule(1e-12)
    found = relevance.propagated(problem, rule, rule)
    assert_close(found.values, InputXGradient()(problem, RNG).values, rtol=1e-6, atol=1e-8)


def test_epsilon_takes_relevance_from_weak_sums():
    problem = network(nn.ReLU())
    assert not torch.allclose(LrpEpsilonPlus(epsilon=0.1)(problem, RNG).values, LrpEpsilonPlus()(problem, RNG).values, rtol=1e-2)
    bare = dataclasses.replace(problem, model=problem.classifier[-3:], images=torch.rand(3, 45).double())
    rule = relevance.epsilon_rule(0.3)
    with torch.no_grad():
        logits = bare.classifier(bare.images)
        hidden = bare.classifier[0](bare.images)
    ratio = logits / (logits + 0.3 * logits.sign())
    middle = hidden.relu() / (hidden.relu() + 0.3)
    weights = torch.einsum("bt,th,bh,hi->bti", ratio, bare.classifier[2].weight, middle, bare.classifier[0].weight)
    assert_close(relevance.propagated(bare, rule, rule).values, weights * bare.images[:, None], rtol=1e-6, atol=1e-8)


def check_conserved(explain: Explain) -> None:
    problem = network(nn.ReLU(), shift=False, bias=False)
    with torch.no_grad():
        logits = problem.classifier(problem.images)
    assert_close(explain(problem, RNG).values.sum((2, 3, 4)), logits, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("explainer", [RULES["plus"], RULES["gamma"]], ids=repr)
def test_without_biases_relevance_is_conserved(explainer):
    check_conserved(explainer)
    rejects(check_conserved, scaled(explainer, 1.001))
    rejects(check_conserved, Gradient())


def test_with_biases_it_is_not():
    problem = network(nn.ReLU(), shift=False)
    with torch.no_grad():
        logits = problem.classifier(problem.images)
    for explainer in COMPOSITES:
        assert "completeness" not in explainer.claims
        assert not torch.allclose(explainer(problem, RNG).values.sum((2, 3, 4)), logits, rtol=0.01)


class Weighted(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, images: Tensor) -> Tensor:
        return 1.5 * self.first(images) - 0.7 * self.second(images)


@pytest.mark.parametrize("explainer", COMPOSITES, ids=repr)
def test_relevance_is_linear_in_the_classifier(explainer):
    problem = network(nn.ReLU())
    other = dataclasses.replace(problem, model=network(nn.GELU(), shift=False).model)
    both = dataclasses.replace(problem, model=Weighted(problem.classifier, other.classifier))
    expected = 1.5 * explainer(problem, RNG).values - 0.7 * explainer(other, RNG).values
    assert_close(explainer(both, RNG).values, expected, rtol=1e-6, atol=1e-8)


def test_batch_normalization_pooling_and_residuals_are_lrp_0():
    """Where a convolution has but one contribution to each output, and no bias, the gamma rule is LRP-0, and only they are left."""
    torch.manual_seed(2)
    block = Block(6)
    block.convolution = nn.Conv2d(6, 6, 1, groups=6, bias=False)
    block.normalization.running_mean.uniform_(-1, 1)
    layers = (nn.Conv2d(3, 6, 1, groups=3, bias=False), block, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(120, 3))
    problem = make_problem(frozen(nn.Sequential(*layers).double()), torch.rand(3, 3, 9, 11).double(), all_classes(3, 3))
    expected = InputXGradient()(problem, RNG).values
    assert_close(LrpGamma(epsilon=1e-12)(problem, RNG).values, expected, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(LrpEpsilonPlus(epsilon=1e-12)(problem, RNG).values, expected, rtol=1e-2)


class Call(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, maps: Tensor) -> Tensor:
        return self.function(maps)


KERNEL = torch.ones(4, 4, 1, 1)
REFUSED = {
    "in-place activation": (nn.ReLU(inplace=True), "the output of Conv2d '0' is changed in place"),
    "functional convolution": (Call(lambda maps: functional.conv2d(maps, KERNEL)), "there is no rule for Call '1'"),
    "functional gelu": (Call(functional.gelu), "there is no rule for Call '1'"),
    "sigmoid": (nn.Sigmoid(), "there is no rule for Sigmoid '1'"),
    "normalization": (nn.GroupNorm(2, 4), "there is no rule for GroupNorm '1'"),
    "product": (Call(lambda maps: maps * maps), "multiplies or divides activations"),
}
ACCEPTED = [nn.ReLU(), Call(functional.relu), Call(lambda maps: functional.max_pool2d(maps, 1)), nn.BatchNorm2d(4), nn.GELU(), nn.Dropout()]


@pytest.mark.parametrize("explainer", COMPOSITES, ids=repr)
def test_what_is_refused_and_why(explainer):
    def problem_with(layer: nn.Module) -> Problem:
        model = frozen(nn.Sequential(nn.Conv2d(2, 4, 3), layer, nn.Flatten(), nn.Linear(16, 3)))
        return make_problem(model, torch.zeros(2, 2, 4, 4), all_classes(2, 3))

    for layer, reason in REFUSED.values():
        assert reason in explainer.unsupported(problem_with(layer))
    for layer in ACCEPTED:
        assert explainer.unsupported(problem_with(layer)) is None
    assert "use output=logit" in dataclasses.replace(explainer, output="probability").unsupported(conv_problem())
    bare = make_problem(frozen(nn.Sequential(nn.Flatten(), nn.Linear(8, 3))), torch.zeros(1, 2, 2, 2), all_classes(1, 3))
    assert "no convolution" in explainer.unsupported(bare)
