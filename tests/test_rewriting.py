"""Rewritten classifiers give the same outputs, and are explained as their twins that were written with modules."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from xaibench.component import UserError
from xaibench.explainers.deep_lift import DeepLift
from xaibench.explainers.guided_backpropagation import GuidedBackpropagation
from xaibench.problem import Problem
from xaibench.rewriting import modular
from xaibench.seeding import Rng

RNG = Rng(0, 0, "rewriting")


class Layers(nn.Module):
    """Parameters of the same names for all networks below."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.hidden, self.last = nn.Linear(36, 6), nn.Linear(6, 3)


class Modules(Layers):
    """The twin that every method understands."""

    def __init__(self) -> None:
        super().__init__()
        self.activations = nn.ModuleList([nn.ReLU() for _ in range(3)])
        self.pooling = nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.activations[0](self.first(images))
        maps = self.activations[1](self.second(maps) + maps)
        return self.last(self.activations[2](self.hidden(self.pooling(maps).flatten(1))))


class Functions(Layers):
    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.first(images))
        maps = torch.relu(self.second(maps) + maps)
        return self.last(self.hidden(functional.max_pool2d(maps, 2).flatten(1)).relu())


class Shared(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.activation, self.pooling = nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.activation(self.first(images))
        maps = self.activation(self.second(maps) + maps)
        return self.last(self.activation(self.hidden(self.pooling(maps).flatten(1))))


class InPlaceModules(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.activation, self.pooling = nn.ReLU(inplace=True), nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        self.activation(maps)
        changed = kept = self.second(maps)
        changed += maps
        return self.last(self.activation(self.hidden(self.pooling(self.activation(kept)).flatten(1))))


class InPlaceFunctions(Layers):
    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.first(images), inplace=True)
        changed = self.second(maps)
        kept = changed
        changed.add_(maps)
        hidden = self.hidden(functional.max_pool2d(kept.relu_(), kernel_size=2).flatten(1))
        return self.last(functional.relu_(hidden))


REWRITTEN = [Functions, Shared, InPlaceModules, InPlaceFunctions]


def problem_of(model: nn.Module) -> Problem:
    draw = torch.Generator().manual_seed(1)
    targets = torch.arange(3).expand(3, -1)
    return Problem(model, torch.rand(3, 2, 6, 6, generator=draw), targets, targets[:, 0], torch.arange(3), torch.zeros(0, 2, 6, 6))


@pytest.mark.parametrize("written", REWRITTEN)
@pytest.mark.parametrize("explainer", [GuidedBackpropagation(), DeepLift()])
def test_rewritten_networks_are_explained_as_their_modular_twin(written, explainer):
    model = written().eval().requires_grad_(False)
    twin, found = problem_of(Modules().eval().requires_grad_(False)), problem_of(modular(model))
    assert_close(found.classifier(found.images), twin.classifier(twin.images))
    assert explainer.unsupported(found) is None
    assert_close(explainer(found, RNG).values, explainer(twin, RNG).values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("written", [Functions, InPlaceModules, InPlaceFunctions])
def test_what_was_not_rewritten_is_refused_and_the_reason_names_the_rewriting(written):
    reason = GuidedBackpropagation().unsupported(problem_of(written().eval()))
    assert reason is not None
    assert "xaibench.rewriting.modular(model)" in reason


@pytest.mark.parametrize("written", [Modules, *REWRITTEN])
def test_the_model_is_left_as_it_was(written):
    model = written().train()
    before = copy.deepcopy(model.state_dict())
    names = [name for name, _ in model.named_modules()]
    found = modular(model)
    assert not found.training
    assert model.training
    assert [name for name, _ in model.named_modules()] == names
    assert list(found.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in found.state_dict().items())
    assert not any(getattr(module, "inplace", False) for module in found.modules())
    assert [getattr(module, "inplace", None) for module in model.modules()] == [
        getattr(module, "inplace", None) for module in written().modules()
    ]


ACTIVATIONS = {
    "relu6": lambda x: functional.relu6(2 * x),
    "hardtanh": lambda x: functional.hardtanh(x, -0.5, 0.25),
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.3),
    "elu": lambda x: functional.elu(x, alpha=0.7),
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": lambda x: functional.silu(x),
    "sigmoid": lambda x: x.sigmoid(),
    "tanh": lambda x: torch.tanh(x),
    "softplus": lambda x: functional.softplus(x, 2.0, 10.0),
    "softmax": lambda x: functional.softmax(x, dim=1),
    "log_softmax": lambda x: x.log_softmax(1),
    "overlapping max-pooling": lambda x: functional.max_pool2d(x, 3, 2, 1, 1, True),
    "max-pooling by its defaults": lambda x: functional.max_pool2d(x, (2, 1)),
    "adaptive max-pooling": lambda x: functional.adaptive_max_pool2d(x, (3, None)),
}


class Calling(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_functions_become_modules_with_their_arguments(name):
    found, images = modular(Calling(ACTIVATIONS[name])), torch.randn(2, 3, 7, 8)
    assert_close(found(images), ACTIVATIONS[name](images), rtol=0, atol=0)
    assert len(list(found.children())) == 1


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.int64(2)], ids=lambda number: type(number).__name__)
def test_numbers_of_numpy_become_pythons(number):
    """The repr that torch.fx writes into its code is since NumPy 2 one of a name that the code does not know."""

    def forward(images: Tensor) -> Tensor:
        return (images * number).relu() + torch.stack([images, images]).sum(0).mul(number)

    found, images = modular(Calling(forward)), torch.randn(2, 3, 4, 4)
    assert_close(found(images), forward(images), rtol=0, atol=0)
    arguments = [argument for node in found.graph.nodes for argument in node.args]
    assert not any(isinstance(argument, np.generic) for argument in arguments)
    assert number.item() in arguments


def branching(images: Tensor) -> Tensor:
    return images.relu() if images.sum() > 0 else images


def through_a_view(images: Tensor) -> Tensor:
    maps = images * 2
    flat = maps.flatten(1)
    flat += 1
    return maps


def a_part(images: Tensor) -> Tensor:
    maps = images * 2
    maps[:, 0] = 1
    return maps


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (branching, "no control flow that depends on the image"),
        (through_a_view, "in place, and with it mul"),
        (a_part, "assignment into a part"),
    ],
)
def test_what_cannot_be_rewritten_is_said(function, message):
    with pytest.raises(UserError, match=message):
        modular(Calling(function))


def test_in_place_changes_that_nobody_else_sees_are_rewritten():
    def forward(images: Tensor) -> Tensor:
        maps = (images * 2).flatten(1)
        maps *= 3
        maps.sub_(0.5)
        return maps.clone().relu_()

    images = torch.randn(2, 3, 4, 4)
    assert_close(modular(Calling(forward))(images), forward(images))
