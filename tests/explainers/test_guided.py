"""Guided backpropagation and deconvolution against their backward passes by hand, and what they refuse."""

import pytest
import torch
from explainer_cases import RNG, Explain, all_classes, frozen, make_problem, negated, next_target, rejects
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from xaibench.explainers.deconvolution import Deconvolution
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.guided_backpropagation import GuidedBackpropagation
from xaibench.problem import Problem

EXPLAINERS = [GuidedBackpropagation(), Deconvolution()]


def network() -> Problem:
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))
    return make_problem(frozen(nn.Sequential(*layers)), torch.rand(4, 2, 8, 8), all_classes(4, 3))


def by_hand(problem: Problem, guided: bool, rectified: bool = True) -> Tensor:
    """Back through transposed weights and pooling switches; at a ReLU cut by the sign of what arrives, and (guided) by activity."""
    convolution, _, _, _, dense, _, last = problem.classifier
    maps = convolution(problem.images)
    pooled, switches = functional.max_pool2d(maps.relu(), 2, return_indices=True)
    hidden = dense(pooled.flatten(1))

    def back(signal: Tensor, values: Tensor) -> Tensor:
        signal = signal.clamp(min=0) if rectified else signal
        return signal * (values > 0) if guided else signal

    found = []
    for row in last.weight:
        signal = back(row.expand(4, -1), hidden) @ dense.weight
        signal = back(functional.max_unpool2d(signal.view_as(pooled), switches, 2), maps)
        found.append(functional.conv_transpose2d(signal, convolution.weight))
    return torch.stack(found, 1)


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=repr)
def test_the_backward_pass_by_hand(explainer):
    problem = network()
    expected = by_hand(problem, guided=isinstance(explainer, GuidedBackpropagation))

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    check(explainer)
    for mutant in (*(other for other in EXPLAINERS if other != explainer), Gradient(), negated(explainer), next_target(explainer)):
        rejects(check, mutant)
    assert_close(Gradient()(problem, RNG).values, by_hand(problem, guided=True, rectified=False), rtol=1e-4, atol=1e-6)


class Shared(nn.Module):
    """One ReLU, used twice; a sum in place in between."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.first(images.flatten(1)))
        more = self.second(hidden)
        more += hidden
        return self.last(self.relu(more))


class Apart(Shared):
    """The same function with a ReLU for each use."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.first(images.flatten(1)))
        return self.last(self.other(self.second(hidden) + hidden))


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=repr)
def test_a_shared_relu_is_ruled_at_each_use(explainer):
    shared, apart = (make_problem(frozen(model()), torch.rand(3, 2, 2, 2), all_classes(3, 3)) for model in (Shared, Apart))
    apart = make_problem(apart.model, shared.images, shared.targets)
    assert explainer.unsupported(shared) is None
    assert_close(explainer(shared, RNG).values, explainer(apart, RNG).values)


class Call(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, hidden: Tensor) -> Tensor:
        return self.function(hidden)


class Inner(nn.Module):
    """Calls a function beside a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.relu(self.relu(hidden) - 1)


REFUSED = {
    "in-place": (nn.ReLU(inplace=True), "ReLU '2' works in place: make it with inplace=False; xaibench.rewriting.modular(model) does so"),
    "changed": (nn.Sequential(nn.ReLU(), nn.ELU(inplace=True)), "the output of ReLU '2.0' is changed in place"),
    "function": (Inner(), "the model calls relu as a function"),
    "module that calls": (Call(functional.relu), "Call '2' calls relu as a function"),
    "gelu": (nn.Sequential(nn.ReLU(), nn.GELU()), "an activation other than ReLU (GELU '2.1')"),
    "leaky": (nn.LeakyReLU(), "an activation other than ReLU (LeakyReLU '2')"),
    "sigmoid": (Call(torch.sigmoid), "an activation other than ReLU (Call '2')"),
    "none": (nn.Identity(), "the model has no ReLU"),
}


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=repr)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_why(explainer, name):
    layer, reason = REFUSED[name]
    problem = make_problem(
        frozen(nn.Sequential(nn.Flatten(), nn.Linear(8, 8), layer, nn.Linear(8, 3))), torch.zeros(2, 2, 2, 2), all_classes(2, 3)
    )
    assert reason in explainer.unsupported(problem)


@pytest.mark.parametrize(
    "layers", [(nn.ReLU(),), (nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Upsample(scale_factor=2)), (nn.ReLU(), nn.Softmax(1))]
)
def test_what_is_not_an_activation_keeps_its_gradient(layers):
    model = frozen(nn.Sequential(nn.Conv2d(2, 4, 3), *layers, nn.Flatten(), nn.Linear(144, 3)))
    problem = make_problem(model, torch.zeros(2, 2, 8, 8), all_classes(2, 3))
    assert GuidedBackpropagation().unsupported(problem) is None
