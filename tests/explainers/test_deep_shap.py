"""Deep SHAP refuses the networks that its library explains wrongly, and says why; what it accepts adds up."""

import pytest
import torch
from explainer_cases import RNG, Block, Square, all_classes, frozen, make_problem
from torch import Tensor, nn
from torch.nn import functional

from xaibench.explainers.deep_shap import DeepShap

# shap's plots, imported with it, call functions that matplotlib 3.11 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:The set_(bad|over|under) function:PendingDeprecationWarning")


class Normalize(nn.Module):
    """A linear layer that shap does not know by name."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.4))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / 0.3


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.relu(self.linear(hidden))


class InPlaceSum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, hidden: Tensor) -> Tensor:
        changed = self.linear(hidden)
        changed += hidden
        return changed


class Reciprocal(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return torch.ones(1) / (hidden + 1.5)


def problem_for(*layers: nn.Module):
    torch.manual_seed(0)
    model = frozen(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), *layers))
    return make_problem(model, torch.rand(2, 1, 6, 6), all_classes(2, 3), torch.rand(4, 1, 6, 6))


def dense(*layers: nn.Module) -> tuple[nn.Module, ...]:
    return nn.Flatten(), nn.Linear(72, 8), *layers, nn.Linear(8, 3)


def shared_relu() -> tuple[nn.Module, ...]:
    relu = nn.ReLU()
    return nn.Flatten(), nn.Linear(72, 8), relu, nn.Linear(8, 8), relu, nn.Linear(8, 3)


ACCEPTED = {
    "relu": lambda: dense(nn.ReLU()),
    "gelu": lambda: dense(nn.GELU()),
    "softplus": lambda: dense(nn.Softplus()),
    "tanh": lambda: dense(nn.Tanh()),
    "elu": lambda: dense(nn.ELU()),
    "selu": lambda: dense(nn.SELU()),
    "leaky": lambda: dense(nn.LeakyReLU()),
    "sigmoid": lambda: dense(nn.Sigmoid()),
    "dropout": lambda: dense(nn.ReLU(), nn.Dropout()),
    "identity": lambda: dense(nn.ReLU(), nn.Identity()),
    "normalize": lambda: (Normalize(), *dense(nn.ReLU())),
    "residual": lambda: (Block(2), *dense(nn.ReLU())),
    "pooling": lambda: (nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3)),
    "global pooling": lambda: (nn.ReLU(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)),
    "upsampling": lambda: (nn.ReLU(), nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear"), *dense(nn.ReLU())),
}

REFUSED = {
    "in-place relu": (lambda: dense(nn.ReLU(inplace=True)), "ReLU '3' works in place: make it with inplace=False"),
    "shared relu": (shared_relu, "ReLU '3' is used 2 times: give every use a module of its own"),
    "functional relu": (lambda: dense(Functional()), "the model calls relu as a function"),
    "in-place sum": (lambda: dense(InPlaceSum(), nn.ReLU()), "the output of Linear '3.linear' is changed in place"),
    "silu": (lambda: dense(nn.SiLU()), "there is no rule for SiLU '3'"),
    "layer normalization": (lambda: dense(nn.LayerNorm(8)), "there is no rule for LayerNorm '3'"),
    "square": (lambda: dense(Square()), "multiplies or divides activations by each other"),
    "reciprocal": (lambda: dense(Reciprocal()), "multiplies or divides activations by each other"),
    "adaptive max-pooling": (lambda: (nn.AdaptiveMaxPool2d(6), *dense()), "there is no rule for AdaptiveMaxPool2d '1'"),
    "overlapping max-pooling": (lambda: (nn.MaxPool2d(3, 1, 1), *dense()), "max-pooling '1' has overlapping windows"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_networks_add_up(name):
    problem = problem_for(*ACCEPTED[name]())
    assert DeepShap().unsupported(problem) is None
    found = DeepShap()(problem, RNG)
    assert (found.values.sum((2, 3, 4)) - found.total).abs().max() < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_refused_networks_come_with_the_reason(name):
    layers, reason = REFUSED[name]
    assert reason in DeepShap().unsupported(problem_for(*layers()))


# Pooling 6 x 6 to 6 x 6 changes nothing, so it cannot go wrong.
@pytest.mark.parametrize("name", sorted(set(REFUSED) - {"adaptive max-pooling"}))
def test_refused_networks_do_fail_or_not_add_up(name):
    """Were one of them right in the library, the refusal would be needless."""
    problem = problem_for(*REFUSED[name][0]())
    try:
        found = DeepShap()(problem, RNG)
    except (RuntimeError, AssertionError):
        return
    assert (found.values.sum((2, 3, 4)) - found.total).abs().max() > 1e-4


@pytest.mark.parametrize("trained", [True, False])
def test_parameters_may_still_require_gradients(trained):
    problem = problem_for(*ACCEPTED["residual"]())
    problem.classifier.requires_grad_(not trained)
    assert DeepShap().unsupported(problem) is None


def test_a_failing_call_leaves_no_hooks():
    problem = problem_for(*REFUSED["in-place relu"][0]())
    with pytest.raises(RuntimeError):
        DeepShap()(problem, RNG)
    for module in problem.classifier.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
        assert not hasattr(module, "x")


def test_other_reasons():
    problem = problem_for(*ACCEPTED["relu"]())
    assert "LogSoftmax" in DeepShap(output="log_probability").unsupported(problem)
    empty = make_problem(problem.model, problem.images, problem.targets, torch.zeros(0, 1, 6, 6))
    assert "background" in DeepShap().unsupported(empty)
    assert DeepShap(output="probability").unsupported(problem) is None
