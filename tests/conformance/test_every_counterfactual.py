"""Every method of conf/explainer/counterfactual: it gives what it declares, finds by the one rule, and depends on nothing else."""

import dataclasses
import itertools
from typing import ClassVar

import pytest
import torch
from conformance_cases import RNG
from search_cases import (
    METHODS,
    UNDER,
    Noise,
    assert_same,
    check_black_box,
    check_independence,
    check_nan,
    check_nothing_asked,
    check_search,
    method,
    problem_of,
    with_helpers,
)

from xaibench.component import ConfigurationError
from xaibench.problem import Counterfactuals, Passes, Problem
from xaibench.searching import CounterfactualExplainer, Pairs, Proposals
from xaibench.seeding import Rng

every_method = pytest.mark.parametrize("name", METHODS)


def test_there_are_methods():
    assert len(METHODS) >= 5


@every_method
def test_explains_or_says_why_not(name):
    done = [check_search(method(name), problem_of(*under, batch=2)) for under in UNDER]
    # At the least the dense network, where other classes are near.
    assert done[-1] is not None
    assert done[-1].asked.any()


@every_method
def test_batch_split_order_neighbors_and_chunk_change_nothing(name):
    check_independence(method(name), problem_of())


@every_method
def test_nan_logits_find_nothing(name):
    check_nan(method(name), problem_of())


@every_method
def test_where_nothing_is_asked_for_nothing_is_done(name):
    check_nothing_asked(method(name), problem_of())


@every_method
def test_without_a_gradient_it_says_so_or_needs_none(name):
    check_black_box(method(name), problem_of())


@every_method
def test_a_confidence_is_reached_by_what_is_found(name):
    check_search(dataclasses.replace(method(name), confidence=0.7), problem_of())
    certain = check_search(dataclasses.replace(method(name), confidence=1.0), problem_of("conv16_conv32_gap"))
    assert certain is None or not certain.found.any()


@every_method
def test_a_wrong_confidence_is_refused(name):
    with pytest.raises(ConfigurationError, match="confidence"):
        dataclasses.replace(method(name), confidence=1.5)


@every_method
@pytest.mark.parametrize("wrong", [-0.1, 1.2, float("nan")])
def test_images_outside_the_range_are_refused(name, wrong):
    problem = with_helpers(method(name), problem_of())
    problem.images[1, 0, 2, 3] = wrong
    with pytest.raises(ValueError, match=r"Problem\.images .* expected values in \[0, 1\]"):
        method(name)(problem, RNG)


@every_method
def test_one_image_with_one_class(name):
    problem = problem_of(batch=4).take(slice(1, 2))
    found = check_search(method(name), dataclasses.replace(problem, targets=problem.targets[:, :1]))
    assert found is not None


@every_method
def test_another_draw_is_the_same_or_another_search(name):
    """Seed and draw are the only source of chance."""
    problem = with_helpers(method(name), problem_of())
    assert_same(method(name)(problem, RNG), method(name)(problem, Rng(RNG.seed, RNG.draw, RNG.component)))


def equal(one: Counterfactuals, other: Counterfactuals) -> bool:
    return torch.allclose(one.images, other.images, rtol=1e-4, atol=1e-5)


@dataclasses.dataclass(frozen=True)
class Renamed(Noise):
    """The same under another name."""


def test_no_two_methods_give_the_same_images():
    methods = {name: method(name) for name in METHODS} | {"noise": Noise(), "renamed": Renamed()}
    found = {name: one(with_helpers(one, problem_of()), RNG) for name, one in methods.items()}
    pairs = {frozenset(pair) for pair in itertools.combinations(found, 2) if equal(found[pair[0]], found[pair[1]])}
    assert pairs == {frozenset({"noise", "renamed"})}


@dataclasses.dataclass(frozen=True)
class Lying(Noise):
    """Says that all are found."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        found = super().__call__(problem, rng)
        return dataclasses.replace(found, found=found.asked.clone())


@dataclasses.dataclass(frozen=True)
class Hiding(Noise):
    """Says that nothing is found."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        found = super().__call__(problem, rng)
        return dataclasses.replace(found, found=torch.zeros_like(found.found))


@dataclasses.dataclass(frozen=True)
class Overflowing(Noise):
    """Gives images outside the range."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        found = super().__call__(problem, rng)
        return dataclasses.replace(found, images=found.images * 1.5)


@dataclasses.dataclass(frozen=True)
class Double(Noise):
    """Gives images in double precision."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        found = super().__call__(problem, rng)
        return dataclasses.replace(found, images=found.images.double())


@dataclasses.dataclass(frozen=True)
class Undercounting(Noise):
    """Reports fewer passes than it takes."""

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        found = super().search(problem, pairs, rng)
        return dataclasses.replace(found, forward=found.forward - 1)


@dataclasses.dataclass(frozen=True)
class Overspending(Noise):
    """Takes more passes than it declares."""

    def most_passes(self, problem: Problem) -> Passes:
        return Passes(1)


@dataclasses.dataclass(frozen=True)
class Training(Noise):
    """Leaves the classifier in training mode."""

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        problem.classifier.train()
        return super().search(problem, pairs, rng)


@dataclasses.dataclass(frozen=True)
class Shuffling(Noise):
    """Changes the training images."""

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        problem.training_data.images.neg_()
        return super().search(problem, pairs, rng)


@dataclasses.dataclass(frozen=True)
class Silent(Noise):
    """Refuses without a reason."""

    def unsupported(self, problem: Problem) -> str | None:
        return ""


@dataclasses.dataclass(frozen=True)
class Obliging(Noise):
    """Looks for what is already there."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        found = super().__call__(problem, rng)
        return dataclasses.replace(found, asked=torch.ones_like(found.asked))


@pytest.mark.parametrize("mutant", [Lying, Hiding, Overflowing, Double, Undercounting, Overspending, Training, Shuffling, Silent, Obliging])
def test_the_check_rejects_mutants(mutant):
    assert check_search(Noise(), problem_of()) is not None
    with pytest.raises(AssertionError):
        check_search(mutant(), problem_of())


@dataclasses.dataclass(frozen=True)
class Neighborly(Noise):
    """Looks at the other images."""

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        found = super().search(problem, pairs, rng)
        return dataclasses.replace(found, images=0.9 * found.images + 0.1 * pairs.images.mean(0))


@dataclasses.dataclass(frozen=True)
class Sequential(Noise):
    """Draws pair by pair from one stream."""

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        found = super().search(problem, pairs, rng)
        noise = torch.rand(found.images.shape, generator=torch.Generator().manual_seed(1))
        return dataclasses.replace(found, images=0.9 * found.images + 0.1 * noise)


@dataclasses.dataclass(frozen=True)
class Chunked(Noise):
    """Depends on how many go through the classifier at once."""

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        found = super().search(problem, pairs, rng)
        return dataclasses.replace(found, forward=found.forward + problem.chunk % 2)


@dataclasses.dataclass(frozen=True)
class Careless(Noise):
    """Draws the same for all targets, by their place."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        found = super().__call__(problem, rng)
        place = torch.arange(problem.targets.shape[1])[None, :, None, None, None]
        return dataclasses.replace(found, images=found.images + 0.01 * place)


@pytest.mark.parametrize("mutant", [Neighborly, Sequential, Chunked, Careless])
def test_the_check_of_independence_rejects_mutants(mutant):
    check_independence(Noise(), problem_of())
    with pytest.raises(AssertionError):
        check_independence(mutant(), problem_of())


@dataclasses.dataclass(frozen=True)
class Trusting(Noise):
    """Takes what the classifier says for a number."""

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        found = super().search(problem, pairs, rng)
        assert problem.classifier(found.images).isfinite().all()
        return found


@dataclasses.dataclass(frozen=True)
class Convinced(Lying):
    """Finds something where there is nothing to know."""


@pytest.mark.parametrize("mutant", [Trusting, Convinced])
def test_the_check_of_nan_rejects_mutants(mutant):
    check_nan(Noise(), problem_of())
    with pytest.raises(AssertionError):
        check_nan(mutant(), problem_of())


@dataclasses.dataclass(frozen=True)
class Busy(Noise):
    """Looks at the classifier even if there is nothing to do."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        problem.classifier(problem.images[:1])
        return super().__call__(problem, rng)


@pytest.mark.parametrize("mutant", [Busy, Obliging])
def test_the_check_of_nothing_asked_rejects_mutants(mutant):
    check_nothing_asked(Noise(), problem_of())
    with pytest.raises(AssertionError):
        check_nothing_asked(mutant(), problem_of())


@dataclasses.dataclass(frozen=True)
class Proud(Noise):
    """Says that it needs a gradient, and asks for none."""

    differentiates: ClassVar = True

    def unsupported(self, problem: Problem) -> str | None:
        return None


@dataclasses.dataclass(frozen=True)
class Mistaken(Noise):
    """Refuses a black box."""

    def unsupported(self, problem: Problem) -> str | None:
        return "needs the gradient" if type(problem.classifier).__name__ == "BlackBox" else None


@pytest.mark.parametrize("mutant", [Proud, Mistaken])
def test_the_check_of_black_boxes_rejects_mutants(mutant):
    check_black_box(Noise(), problem_of())
    with pytest.raises(AssertionError):
        check_black_box(mutant(), problem_of())


def test_all_methods_are_of_the_kind_that_they_say():
    for name in METHODS:
        assert isinstance(method(name), CounterfactualExplainer)
        assert method(name).gives is Counterfactuals
