"""Every explainer in conf/, on networks of conf/ and on grey and color images: it gives what it declares, or says why not."""

import dataclasses
import itertools
from typing import ClassVar

import fewer
import networks
import pytest
import torch
from conformance_cases import CLASSES, MODELS, RNG, SHAPES, check_explainer, explainers, make_problem, names

from xaibench.explainers.gradient import Gradient
from xaibench.problem import Attributions, Explainer, Passes, Problem
from xaibench.seeding import Rng

UNDER = [(model, shape) for model in MODELS for shape in SHAPES]
DECLARED_ALIASES: set[frozenset[str]] = set()
"""Pairs that are meant to give the same numbers at their defaults. They count once in every comparison."""


@pytest.mark.parametrize("name", fewer.names())
def test_explains_or_says_why_not(name):
    explainer = explainers()[name]
    done = [check_explainer(explainer, make_problem(model, shape)) for model, shape in UNDER]
    # At the least the network that fits every method.
    assert done[UNDER.index(("conv16_conv32_gap", (3, 12, 10)))]


def test_all_classes_can_be_asked_for_at_once():
    problem = make_problem("linear", targets=CLASSES, batch=2)
    for explainer in explainers().values():
        check_explainer(explainer, problem)


def aliases(results: dict[str, torch.Tensor]) -> set[frozenset[str]]:
    """Pairs with the same numbers, one channel or several."""
    return {frozenset(pair) for pair in itertools.combinations(results, 2) if equal(*(results[name] for name in pair))}


def equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dim() == 5:
        one, other = one.sum(2), other.sum(2)
    return torch.allclose(one, other, rtol=1e-4, atol=1e-6 * float(one.nan_to_num().abs().max()), equal_nan=True)


def maps(explainers: dict[str, Explainer]) -> dict[str, torch.Tensor]:
    """On a network with a dense head: after global average pooling Grad-CAM and HiResCAM are equal by a theorem."""
    problem = networks.make_problem("modular")
    return {name: explainer(problem, RNG).values for name, explainer in explainers.items()}


@dataclasses.dataclass(frozen=True)
class Renamed(Gradient):
    """The gradient under another name."""


def test_no_two_explainers_give_the_same_numbers():
    found = aliases(maps(explainers() | {"renamed": Renamed()}))
    assert frozenset({"gradient", "renamed"}) in found
    assert {pair for pair in found if "renamed" not in pair} == {pair for pair in DECLARED_ALIASES if pair <= set(names("explainer"))}


@dataclasses.dataclass(frozen=True)
class Doubling(Gradient):
    """Gives two values in place of one."""

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        return Attributions(super().__call__(problem, rng).values.repeat(1, 1, 2, 1, 1))


@dataclasses.dataclass(frozen=True)
class Infinite(Gradient):
    """Divides by zero."""

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        return Attributions(super().__call__(problem, rng).values / 0.0)


@dataclasses.dataclass(frozen=True)
class Training(Gradient):
    """Leaves the model in training mode."""

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        found = super().__call__(problem, rng)
        problem.classifier.train()
        return found


@dataclasses.dataclass(frozen=True)
class Remembering(Gradient):
    """Keeps something between calls."""

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        object.__setattr__(self, "last", problem.index[0].item())
        return super().__call__(problem, rng)


@dataclasses.dataclass(frozen=True)
class Underestimating(Gradient):
    """Takes more passes than its upper bound."""

    exact_passes: ClassVar = False

    def passes(self, problem: Problem) -> Passes:
        return Passes(forward=super().passes(problem).forward)


@dataclasses.dataclass(frozen=True)
class Silent(Gradient):
    """Refuses without a reason."""

    def unsupported(self, problem: Problem) -> str | None:
        return ""


@pytest.mark.parametrize("mutant", [Doubling, Infinite, Training, Remembering, Underestimating, Silent])
def test_the_check_rejects_explainers(mutant):
    problem = make_problem()
    with pytest.raises(AssertionError):
        check_explainer(mutant(), problem)
    problem.classifier.eval()
