"""Deep SHAP refuses the networks for which it has no rules, and says why; what it accepts adds up."""

import dataclasses

import pytest
import torch
from explainer_cases import RNG, Block, Square, all_classes, conv_problem, frozen, make_problem
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from xaibench.explainers.deep_lift import DeepLift
from xaibench.explainers.deep_shap import DeepShap


class Normalize(nn.Module):
    """A linear layer of a class of its own."""

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


class InPlace(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.mul_(2.0)


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
    "silu": lambda: dense(nn.SiLU()),
    "dropout": lambda: dense(nn.ReLU(), nn.Dropout()),
    "identity": lambda: dense(nn.ReLU(), nn.Identity()),
    "normalize": lambda: (Normalize(), *dense(nn.ReLU())),
    "residual": lambda: (Block(2), *dense(nn.ReLU())),
    "shared relu": shared_relu,
    "in-place sum": lambda: dense(InPlaceSum(), nn.ReLU()),
    "pooling": lambda: (nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3)),
    "overlapping pooling": lambda: (nn.MaxPool2d(3, 1, 1), *dense(nn.ReLU())),
    "adaptive pooling": lambda: (nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(32, 3)),
    "global pooling": lambda: (nn.ReLU(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)),
    "upsampling": lambda: (nn.ReLU(), nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear"), *dense(nn.ReLU())),
    "dense layers on maps": lambda: (nn.Linear(6, 6), nn.ReLU(), *dense(nn.ReLU())),
}

REFUSED = {
    "in-place relu": (lambda: dense(nn.ReLU(inplace=True)), "ReLU '3' works in place: make it with inplace=False"),
    "functional relu": (lambda: dense(Functional()), "the model calls relu as a function"),
    "changed relu": (lambda: dense(nn.ReLU(), InPlace()), "the output of ReLU '3' is changed in place"),
    "layer normalization": (lambda: dense(nn.LayerNorm(8)), "there is no rule for LayerNorm '3'"),
    "square": (lambda: dense(Square()), "multiplies or divides activations by each other"),
    "reciprocal": (lambda: dense(Reciprocal()), "multiplies or divides activations by each other"),
    "softmax": (lambda: dense(nn.Softmax(1)), "there is no rule for Softmax '3'"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_networks_add_up(name):
    problem = problem_for(*ACCEPTED[name]())
    assert DeepShap().unsupported(problem) is None
    found = DeepShap()(problem, RNG)
    assert (found.values.sum((2, 3, 4)) - found.total).abs().max() < 2e-6


@pytest.mark.parametrize("name", REFUSED)
def test_refused_networks_come_with_the_reason(name):
    layers, reason = REFUSED[name]
    assert reason in DeepShap().unsupported(problem_for(*layers()))


@pytest.mark.parametrize("name", REFUSED)
def test_refused_networks_do_fail_or_not_add_up(name):
    """Were one of them right, the refusal would be needless."""
    problem = problem_for(*REFUSED[name][0]())
    try:
        found = DeepShap()(problem, RNG)
    except RuntimeError:
        return
    assert (found.values.sum((2, 3, 4)) - found.total).abs().max() > 1e-4


def test_it_is_deep_lift_averaged_over_the_background():
    problem = conv_problem()
    constants = torch.tensor([0.0, 0.2, 0.7])
    flat = dataclasses.replace(problem, background=constants[:, None, None, None].expand(3, 3, 9, 11).contiguous())
    each = [DeepLift(baseline=float(constant))(problem, RNG) for constant in constants]
    found = DeepShap()(flat, RNG)
    assert_close(found.values, torch.stack([one.values for one in each]).mean(0), rtol=1e-4, atol=1e-6)
    assert_close(found.total, torch.stack([one.total for one in each]).mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2, 7, 20])
def test_no_more_than_a_chunk_goes_through_the_model_at_once(chunk):
    problem = dataclasses.replace(conv_problem(), chunk=chunk)
    whole, sizes = DeepShap()(conv_problem(), RNG).values, []
    handle = problem.classifier.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    assert_close(DeepShap()(problem, RNG).values, whole, rtol=1e-5, atol=1e-6)
    handle.remove()
    assert max(sizes) <= chunk


@pytest.mark.parametrize("trained", [True, False])
def test_parameters_may_still_require_gradients(trained):
    problem = problem_for(*ACCEPTED["residual"]())
    problem.classifier.requires_grad_(not trained)
    assert DeepShap().unsupported(problem) is None
    DeepShap()(problem, RNG)
    assert all(parameter.grad is None for parameter in problem.classifier.parameters())


class Failing(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        if len(hidden) != 4:  # the background alone passes
            raise RuntimeError("out of memory")
        return hidden


def test_a_failing_call_leaves_no_hooks():
    problem = problem_for(*dense(nn.ReLU(), Failing()))
    with pytest.raises(RuntimeError, match="out of memory"):
        DeepShap()(problem, RNG)
    assert not any(module._forward_hooks or module._backward_hooks for module in problem.classifier.modules())


def test_other_reasons_and_outputs():
    problem = problem_for(*ACCEPTED["relu"]())
    empty = make_problem(problem.model, problem.images, problem.targets, torch.zeros(0, 1, 6, 6))
    assert "background" in DeepShap().unsupported(empty)
    for output in ("probability", "log_probability"):
        explainer = DeepShap(output=output)
        assert explainer.unsupported(problem) is None
        found = explainer(problem, RNG)
        assert (found.values.sum((2, 3, 4)) - found.total).abs().max() < 1e-5
