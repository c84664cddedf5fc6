"""What every explainer in conf/explainer must hold: independence of batch and order, counted passes, an untouched model."""

import dataclasses
import random
from typing import ClassVar

import numpy as np
import pytest
import torch
from explainer_cases import RNG, conv_problem
from fewer import EXTRAS, FEWER, FILES, load, names
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench import cost
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.sobel import Sobel
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng

# shap's plots, imported with it, call functions that matplotlib 3.11 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:The set_(bad|over|under) function:PendingDeprecationWarning")

COMPLETE = {"integrated_gradients", "expected_gradients", "deep_lift", "deep_shap", "kernel_shap", "exact_shapley", "permutation_shapley"}

RANDOM = {
    *("random", "gaussian_random", "blurred_random", "smoothgrad", "smoothgrad_squared", "vargrad", "expected_gradients"),
    *("lime", "rise", "kernel_shap", "permutation_shapley", "degraded"),
}
"""Those that another draw changes."""

assert names()
everyone = pytest.mark.parametrize("name", names())


def close(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def check_independent(explainer: Explainer) -> None:
    problem = conv_problem()
    whole = explainer(problem, RNG).values
    for size in (1, 2):
        parts = [explainer(problem.take(slice(start, start + size)), RNG).values for start in range(0, 5, size)]
        close(torch.cat(parts), whole)
    order = torch.tensor([3, 0, 4])
    close(explainer(problem.take(order), RNG).values, whole[order])
    close(explainer(dataclasses.replace(problem, chunk=7), RNG).values, whole)


def check_targets_independent(explainer: Explainer) -> None:
    problem = conv_problem()
    whole = explainer(problem, RNG)
    alone = explainer(dataclasses.replace(problem, targets=problem.targets[:, 1:2]), RNG)
    close(alone.values, whole.values[:, 1:2])
    if whole.total is not None:
        close(alone.total, whole.total[:, 1:2])


def check_passes(explainer: Explainer) -> None:
    for targets in (1, 3):
        problem = conv_problem(targets=targets)
        with cost.measure(problem.model) as counted:
            explainer(problem, RNG)
        declared = explainer.passes(problem)
        if explainer.exact_passes:
            assert counted.passes == declared
        else:
            assert counted.forward <= declared.forward
            assert counted.backward <= declared.backward


def state(model: nn.Module) -> list:
    """Attributes, hooks, mode and parameters' gradients of every module."""
    contents = []
    for module in model.modules():
        for name, value in vars(module).items():
            contents.append((name, list(value.items()) if isinstance(value, dict) else value))
    return contents + [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()]


def check_leaves_no_trace(explainer: Explainer) -> None:
    problem = conv_problem()
    for parameter in problem.classifier.parameters():
        parameter.grad = torch.ones_like(parameter)
    tensors = [problem.images, problem.targets, problem.background, problem.index, *problem.classifier.state_dict().values()]
    copies = [tensor.clone() for tensor in tensors]
    handle = problem.classifier[1].register_forward_hook(lambda *_: None)
    before = state(problem.classifier)
    generators = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())
    explainer(problem, RNG)
    assert same_state(state(problem.classifier), before)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, copies, strict=True))
    assert not problem.images.requires_grad
    assert not problem.background.requires_grad
    assert random.getstate() == generators[0]
    assert np.array_equal(np.random.get_state()[1], generators[1])
    assert torch.equal(torch.get_rng_state(), generators[2])
    handle.remove()
    assert not problem.classifier[1]._forward_hooks


def same_state(after: list, before: list) -> bool:
    """Gradients are compared by value, attributes and the contents of dictionaries by identity."""
    return len(after) == len(before) and all(same(one, other) for one, other in zip(after, before, strict=True))


def same(one, other) -> bool:
    if one is None or other is None:
        return one is other
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if not isinstance(one[1], list):
        return one[0] == other[0] and one[1] is other[1]
    return one[0] == other[0] and [(key, id(item)) for key, item in one[1]] == [(key, id(item)) for key, item in other[1]]


def test_who_gets_fewer_samples_exists():
    assert (FEWER.keys() | EXTRAS.keys() | RANDOM | COMPLETE) <= {path.stem for path in FILES}


@everyone
def test_other_images_batches_and_chunks_change_nothing(name):
    check_independent(load(name))


@everyone
def test_other_targets_change_nothing(name):
    check_targets_independent(load(name))


@everyone
def test_passes_are_as_many_as_counted(name):
    check_passes(load(name))


@everyone
def test_model_inputs_and_generators_are_as_they_were(name):
    check_leaves_no_trace(load(name))


@everyone
@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("shape", [(3, 9, 11), (1, 8, 8)])
def test_shapes(name, targets, shape):
    problem = conv_problem(shape, targets=targets)
    explainer = load(name)
    assert explainer.unsupported(problem) is None
    found = explainer(problem, RNG)
    assert found.values.shape in ((5, targets, 1, *shape[1:]), (5, targets, *shape))
    assert found.values.dtype == torch.float32
    assert found.values.is_contiguous()
    assert not found.values.requires_grad
    assert found.values.isfinite().all()
    assert (found.total is not None) == ("completeness" in explainer.claims)
    assert name not in COMPLETE or found.total is not None
    if found.total is not None:
        assert found.total.shape == (5, targets)
        assert found.total.dtype == torch.float32


@everyone
def test_gradients_may_be_off_around_the_call(name):
    problem = conv_problem()
    expected = load(name)(problem, RNG).values
    with torch.no_grad():
        close(load(name)(problem, RNG).values, expected)


@everyone
def test_only_controls_do_without_a_model(name):
    explainer = load(name)
    problem = dataclasses.replace(conv_problem(), model=None)
    control = explainer.family == Family.CONTROL
    assert (explainer.unsupported(problem) is None) == control
    if control:
        assert explainer.passes(problem) == Passes(0, 0)
        assert explainer(problem, RNG).values.isfinite().all()


@everyone
def test_asking_whether_it_is_supported_leaves_no_trace(name):
    problem = dataclasses.replace(conv_problem(), images=torch.zeros(5, 3, 9, 11))
    before = state(problem.classifier)
    load(name).unsupported(problem)
    assert same_state(state(problem.classifier), before)


@everyone
def test_a_draw_is_repeatable_and_another_one_differs_where_chance_plays_a_part(name):
    problem = conv_problem((1, 20, 20))
    explainer = load(name)
    first, again, other = (explainer(problem, Rng(0, draw, "test")).values for draw in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.allclose(first, other, rtol=1e-3, atol=1e-5) == (name not in RANDOM)


@dataclasses.dataclass(frozen=True)
class Neighbourly(Gradient):
    """Divides by the largest value of the batch."""

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        values = super().__call__(problem, rng).values
        return Attributions(values / values.abs().max())


@dataclasses.dataclass(frozen=True)
class Littering(Gradient):
    """Leaves a hook behind."""

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        problem.classifier.register_forward_hook(lambda *_: None)
        return super().__call__(problem, rng)


@dataclasses.dataclass(frozen=True)
class Seeding(Sobel):
    """Seeds the global generator."""

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        np.random.seed(0)
        return super().__call__(problem, rng)


@dataclasses.dataclass(frozen=True)
class Clearing(Sobel):
    """Clears the parameters' gradients."""

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        problem.classifier.zero_grad()
        return super().__call__(problem, rng)


@dataclasses.dataclass(frozen=True)
class Wasteful(Gradient):
    """Takes a pass that it does not declare."""

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        problem.classifier(problem.images[:1])
        return super().__call__(problem, rng)


@dataclasses.dataclass(frozen=True)
class Unbounded(Wasteful):
    """Takes more passes than its upper bound."""

    exact_passes: ClassVar = False


@dataclasses.dataclass(frozen=True)
class Frugal(Gradient):
    """Declares an upper bound of its passes."""

    exact_passes: ClassVar = False

    def passes(self, problem: Problem) -> Passes:
        return super().passes(problem) + Passes(2, 2)


def test_passes_may_be_declared_by_an_upper_bound():
    check_passes(Frugal())


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (check_independent, Neighbourly()),
        (check_targets_independent, Neighbourly()),
        (check_leaves_no_trace, Littering()),
        (check_leaves_no_trace, Seeding()),
        (check_leaves_no_trace, Clearing()),
        (check_passes, Wasteful()),
        (check_passes, Unbounded()),
    ],
)
def test_the_checks_reject_mutants(check, mutant):
    with pytest.raises(AssertionError):
        check(mutant)
