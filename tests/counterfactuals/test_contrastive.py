"""Pertinent negatives and positives: against the plain transcription, in their boxes, and on linear classifiers."""

import dataclasses

import pytest
import torch
from counterfactual_cases import RNG, counted, make_problem, pairs_of
from fista_cases import FAULTS, SHAPE, Collapsed, check_against_plain, mutants, plain_search, small_problem
from torch import nn

from xaibench.counterfactuals import contrastive
from xaibench.counterfactuals.pertinent_negative import PertinentNegative
from xaibench.counterfactuals.pertinent_positive import PertinentPositive
from xaibench.datasets.digits import Digits
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.problem import Passes, Training
from xaibench.searching import Pairs
from xaibench.training import Trainer

SMALL = {"iterations": 12, "bisections": 3, "learning_rate": 0.05, "beta": 0.02, "c": 0.5, "gamma": 0.3, "patience": 6}
METHODS = {
    "negative": PertinentNegative(**SMALL, kappa=0.2),
    "negative, from grey": PertinentNegative(**SMALL, absent=0.4),
    "negative, no autoencoder": PertinentNegative(**SMALL | {"gamma": 0.0, "c": 5.0}, confidence=0.5),
    "positive": PertinentPositive(**SMALL, kappa=0.2),
    "positive, from grey": PertinentPositive(**SMALL, absent=0.4, confidence=0.4),
}


def problem_of(method, batch=4):
    """Where a positive is sought the target is the predicted class."""
    problem = small_problem(batch=batch)
    return problem if method.contrary else dataclasses.replace(problem, targets=problem.probabilities.argmax(1)[:, None])


def plain(problem, method):
    def search(image, target, _):
        absent = torch.full_like(image, method.absent)
        if not method.contrary:
            box = torch.minimum(image, absent), torch.maximum(image, absent)
            return plain_search(problem, method, absent, target, box, start=image, fulfilled=True)
        low, high = torch.zeros_like(image), torch.ones_like(image)
        for place in range(image.numel()):
            value = float(image.flatten()[place])
            if value > method.absent:
                low.view(-1)[place] = value
            elif value < method.absent:
                high.view(-1)[place] = value
        return plain_search(problem, method, image, target, (low, high))

    return search


def check(method):
    """The transcription, for all pairs; those of a positive are the images themselves."""
    problem = problem_of(method)
    if method.contrary:
        return check_against_plain(problem, method, plain(problem, method))
    pairs = Pairs(problem.images, problem.targets[:, 0], problem.targets[:, 0], problem.index)
    return check_against_plain(problem, method, plain(problem, method), pairs)


@pytest.mark.parametrize("name", METHODS)
def test_the_search_equals_its_transcription(name):
    check(METHODS[name])


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["negative", "positive"])
def test_the_transcription_rejects_mutants(name, fault, monkeypatch):
    mutants(monkeypatch)[fault]()
    with pytest.raises(AssertionError):
        check(METHODS[name])


def grey_for_black(method, images):
    return torch.full_like(images, 0.4 - method.absent)


@pytest.mark.parametrize("name", ["negative", "negative, from grey", "positive", "positive, from grey"])
def test_the_transcription_rejects_another_value_for_nothing(name, monkeypatch):
    monkeypatch.setattr(contrastive.ContrastiveSearch, "emptied", grey_for_black)
    with pytest.raises(AssertionError):
        check(METHODS[name])


# --- what they may change


@pytest.mark.parametrize("absent", [0.0, 0.4, 1.0])
def test_a_negative_only_adds_and_a_positive_only_keeps(absent):
    for kind in (PertinentNegative, PertinentPositive):
        method = kind(**SMALL | {"gamma": 0.0}, absent=absent)
        problem = problem_of(method, batch=6)
        problem.images[:, :, 0] = absent
        problem = make_problem(problem.model, problem.images, problem.targets)
        if not method.contrary:
            problem = dataclasses.replace(problem, targets=problem.probabilities.argmax(1)[:, None])
        found = method(problem, RNG)
        assert found.found.any()
        before, after = problem.images[:, None] - absent, found.images - absent
        more, less = (after, before) if method.contrary else (before, after)
        assert (more.abs() >= less.abs() - 1e-6).all()
        assert (more * less >= 0).all()
        assert (after[found.found] != before.expand_as(after)[found.found]).any()
        if not method.contrary:
            assert (after[..., 0, :] == 0).all()


def linear_problem(weights, level=0.8):
    """One image of one value, which a binary linear classifier takes for class 1 as w x > 2."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 2))
    model[1].weight.data, model[1].bias.data = torch.stack([torch.zeros(30), weights]), torch.tensor([2.0, 0.0])
    return make_problem(model, torch.full((1, *SHAPE), level), torch.ones(1, 1, dtype=torch.int64))


def check_linear_positive(method, weights, chosen):
    problem = linear_problem(weights)
    found = method(problem, RNG)
    part = found.images.flatten()
    kept, dropped = chosen[part > 0], chosen[part == 0]
    assert found.found.all()
    assert 3 < len(kept) < 15
    assert kept.min() > dropped.max()
    assert float(weights @ part) < 2.4  # 4.8 is what the whole image has


LINEAR = PertinentPositive(c=5.0, iterations=200, bisections=5, beta=0.01, learning_rate=0.05)


def linear_weights():
    weights = torch.linspace(-1, 1, 30)[torch.randperm(30, generator=torch.Generator().manual_seed(4))]
    return weights + 0.2


def test_the_positive_of_a_linear_classifier_keeps_the_pixels_with_the_largest_contributions():
    check_linear_positive(LINEAR, linear_weights(), linear_weights())


@pytest.mark.parametrize("mutate", [torch.neg, torch.abs, lambda weights: weights.roll(1)])
def test_the_largest_contributions_reject_mutants(mutate):
    with pytest.raises(AssertionError):
        check_linear_positive(LINEAR, linear_weights(), mutate(linear_weights()))
    with pytest.raises(AssertionError):
        check_linear_positive(dataclasses.replace(LINEAR, beta=0.0), linear_weights(), linear_weights())


def test_a_positive_is_found_where_black_has_no_gradient():
    """Rectified units with negative biases: nothing moves from the black image."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 2))
    model[1].weight.data, model[1].bias.data = torch.rand(8, 30, generator=torch.Generator().manual_seed(0)), -torch.ones(8)
    model[3].weight.data, model[3].bias.data = torch.stack([torch.zeros(8), torch.ones(8)]), torch.tensor([1.0, 0.0])
    problem = make_problem(model, 0.5 + 0.5 * torch.rand(3, *SHAPE), torch.ones(3, 1, dtype=torch.int64))
    found = PertinentPositive(c=1.0)(problem, RNG)
    assert found.found.all()
    assert (found.images.flatten(1).sum(1) < 0.3 * problem.images.flatten(1).sum(1)).all()


# --- pairs, passes, and what they need


@pytest.mark.parametrize("name", METHODS)
def test_pairs_do_not_depend_on_others_and_passes_are_those_counted(name):
    method = METHODS[name]
    problem = problem_of(method, batch=6)
    whole, passes = counted(method, problem)
    assert passes == Passes(int(whole.forward.sum()), int(whole.backward.sum()))
    assert len(whole.forward[whole.asked].unique()) > 1
    for chunk, rows in ((2, torch.tensor([2, 1])), (4, torch.tensor([5, 0, 3]))):
        part, expected = method(dataclasses.replace(problem, chunk=chunk).take(rows), RNG), whole.take(rows)
        for field in ("found", "forward", "backward"):
            assert torch.equal(getattr(part, field), getattr(expected, field))
        assert torch.allclose(part.images, expected.images, atol=1e-5)


def test_the_impossible_is_not_found():
    problem = small_problem()
    problem.model[3].bias.data[2] = -1e4
    problem = dataclasses.replace(problem, targets=torch.full((3, 1), 2))
    found = METHODS["negative"](problem, RNG)
    assert found.asked.all()
    assert not found.found.any()
    assert torch.equal(found.images[:, 0], problem.images)
    sure = dataclasses.replace(METHODS["positive"], confidence=1.0)
    found = sure(problem_of(sure), RNG)
    assert found.asked.all()
    assert not found.found.any()
    assert torch.equal(found.images[:, 0], problem_of(sure).images)


@pytest.mark.parametrize("kind", [PertinentNegative, PertinentPositive])
def test_an_autoencoder_is_needed_only_with_its_term(kind):
    training = Training(Digits(), Conv10Conv20Dense50(), Trainer(), 0)
    collapsed = dataclasses.replace(small_problem(batch=6), helpers={"autoencoder": Collapsed()})
    with_term, without = kind(gamma=1.0), kind(gamma=0.0)
    assert list(with_term.needs(training)) == ["autoencoder"]
    assert "autoencoder is not good enough" in with_term.unsupported(collapsed)
    assert not without.needs(training)
    assert without.unsupported(collapsed) is None


def test_the_pairs_of_a_negative_are_those_of_other_classes():
    negative, positive = METHODS["negative"], METHODS["positive"]
    problem = small_problem(batch=6)
    assert torch.equal(negative(problem, RNG).asked, ~positive(problem, RNG).asked)
    assert len(pairs_of(problem)) == int(negative(problem, RNG).asked.sum())
