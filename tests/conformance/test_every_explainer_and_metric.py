"""Every explainer and metric in conf/, on networks of conf/ and on grey and color images: it gives what it declares, or says why not."""

import dataclasses
import itertools
from typing import ClassVar

import fewer
import networks
import pytest
import torch
from conformance_cases import CLASSES, MODELS, RNG, SHAPES, check_explainer, components, explainers, footprint, make_problem, names, same

from xaibench import cost
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.random import Random
from xaibench.metrics.deletion import Deletion
from xaibench.problem import Attributions, Explainer, Metric, Passes, Problem, Scores
from xaibench.seeding import Rng

MAPS: dict[str, Explainer] = {"signed": Gradient(), "complete": IntegratedGradients(steps=3), "one channel": Random(), "constant": Random()}
UNDER = [(model, shape) for model in MODELS for shape in SHAPES]
DECLARED_ALIASES: set[frozenset[str]] = set()
"""Pairs that are meant to give the same numbers at their defaults. They count once in every comparison."""


def explanation(kind: str, problem: Problem) -> Attributions:
    found = MAPS[kind](problem, RNG)
    return Attributions(torch.full_like(found.values, 0.25)) if kind == "constant" else found


def check_metric(metric: Metric, problem: Problem, kind: str) -> bool:
    """Whether it scores explanations of this kind; then its scores, its passes and its traces are checked."""
    found = explanation(kind, problem)
    before = [*footprint(problem, metric), found.values.clone()]
    reason = metric.unsupported(problem, MAPS[kind])
    assert reason is None or reason.strip()
    if reason is not None:
        return False
    with cost.measure(problem.model) as counted:
        scores = metric(problem, found, RNG)
    assert "value" in scores.values
    assert all(value.shape == problem.targets.shape for value in scores.values.values())
    assert all(value.is_floating_point() and not value.isinf().any() for value in scores.values.values())
    if scores.curves:
        axis = scores.fractions
        assert axis is not None
        assert (axis[0], axis[-1]) == (0.0, 1.0)
        assert (axis.diff() > 0).all()
        assert all(curve.shape == (*problem.targets.shape, len(axis)) for curve in scores.curves.values())
    assert counted.passes == metric.passes(problem)
    assert same(before, [*footprint(problem, metric), found.values])
    return True


@pytest.mark.parametrize("name", fewer.names())
def test_explains_or_says_why_not(name):
    explainer = explainers()[name]
    done = [check_explainer(explainer, make_problem(model, shape)) for model, shape in UNDER]
    # At the least the network that fits every method.
    assert done[UNDER.index(("conv16_conv32_gap", (3, 12, 10)))]


@pytest.mark.parametrize("name", names("metric"))
def test_scores_every_kind_of_map_or_says_why_not(name):
    done = [check_metric(components("metric")[name], make_problem(*under), kind) for under in UNDER for kind in MAPS]
    assert any(done)


@pytest.mark.parametrize("name", names("metric"))
def test_a_map_with_nan_leaves_the_scores_of_other_images_alone(name):
    metric, problem = components("metric")[name], make_problem()
    clean = Attributions(Gradient()(problem, RNG).values, problem.images.sum((1, 2, 3))[:, None].expand(problem.targets.shape).clone())
    broken = Attributions(clean.values.clone(), clean.total)
    broken.values[0, 1, 0, 3, 3] = torch.nan
    expected, found = metric(problem, clean, RNG), metric(problem, broken, RNG)
    for score, value in found.values.items():
        torch.testing.assert_close(value[1:], expected.values[score][1:], rtol=1e-5, atol=1e-6, equal_nan=True)
        torch.testing.assert_close(value[0, :1], expected.values[score][0, :1], rtol=1e-5, atol=1e-6, equal_nan=True)
    assert found.values["value"][0, 1].isnan()


@pytest.mark.parametrize("name", names("metric"))
def test_a_metric_without_a_model_says_why_not_or_needs_none(name):
    metric = components("metric")[name]
    problem = dataclasses.replace(make_problem(), model=None)
    reason = metric.unsupported(problem, MAPS["complete"])
    if reason is None:
        assert metric.passes(problem) == Passes()
        scores = metric(problem, explanation("complete", make_problem()), RNG)
        assert scores.values["value"].shape == problem.targets.shape
    else:
        assert reason.strip()


@pytest.mark.parametrize("group", ["explainer", "metric"])
def test_all_classes_can_be_asked_for_at_once(group):
    problem = make_problem("linear", targets=CLASSES, batch=2)
    for component in (explainers() if group == "explainer" else components(group)).values():
        if isinstance(component, Explainer):
            check_explainer(component, problem)
        else:
            check_metric(component, problem, "complete")


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


def headlines(metrics: dict[str, Metric]) -> dict[str, torch.Tensor]:
    problem = make_problem()
    given = [Attributions(explanation(kind, problem).values, torch.ones(problem.targets.shape)) for kind in ("signed", "one channel")]
    return {name: torch.stack([metric(problem, item, RNG).values["value"] for item in given]) for name, metric in metrics.items()}


@dataclasses.dataclass(frozen=True)
class Renamed(Gradient):
    """The gradient under another name."""


@dataclasses.dataclass(frozen=True)
class Rescored(Deletion):
    """Deletion under another name."""

    def __call__(self, problem: Problem, explanation: Attributions, rng: Rng) -> Scores:
        return super().__call__(problem, explanation, rng)


def test_no_two_explainers_give_the_same_numbers():
    found = aliases(maps(explainers() | {"renamed": Renamed()}))
    assert frozenset({"gradient", "renamed"}) in found
    assert {pair for pair in found if "renamed" not in pair} == {pair for pair in DECLARED_ALIASES if pair <= set(names("explainer"))}


def test_no_two_metrics_give_the_same_numbers():
    found = aliases(headlines(components("metric") | {"rescored": Rescored()}))
    assert frozenset({"deletion", "rescored"}) in found
    assert {pair for pair in found if "rescored" not in pair} == {pair for pair in DECLARED_ALIASES if pair <= set(names("metric"))}


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


@dataclasses.dataclass(frozen=True)
class Wasteful(Deletion):
    """Takes a pass that it does not declare."""

    def __call__(self, problem: Problem, explanation: Attributions, rng: Rng) -> Scores:
        problem.classifier(problem.images[:1])
        return super().__call__(problem, explanation, rng)


@dataclasses.dataclass(frozen=True)
class Averaging(Deletion):
    """Gives one number for the batch."""

    def __call__(self, problem: Problem, explanation: Attributions, rng: Rng) -> Scores:
        return Scores({"value": super().__call__(problem, explanation, rng).values["value"].mean(0)})


@pytest.mark.parametrize("mutant", [Wasteful, Averaging])
def test_the_check_rejects_metrics(mutant):
    problem = make_problem()
    with pytest.raises(AssertionError):
        check_metric(mutant(), problem, "signed")
