"""Every metric of conf/metric with small settings, and what each is given."""

import copy
import dataclasses
import itertools
from functools import cache, partial
from typing import Any

import torch
from conformance_cases import RNG, components, footprint, make_problem, same

from xaibench import cost
from xaibench.datasets.digits import Digits
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.random import Random
from xaibench.explaining import explained
from xaibench.problem import Attributions, Explainer, Problem, Training
from xaibench.scoring import Metric, Scores, scored
from xaibench.training import Trainer

MAPS: dict[str, Explainer] = {"signed": Gradient(), "complete": IntegratedGradients(steps=3), "one channel": Random(), "constant": Random()}

FEWER: dict[str, dict[str, Any]] = {}
"""Metric -> fields that make it cheap."""


@cache
def metrics() -> dict[str, Metric]:
    """All metrics, with fewer samples."""
    return {name: dataclasses.replace(metric, **FEWER.get(name, {})) for name, metric in components("metric").items()}


def explanation(kind: str, problem: Problem) -> Attributions:
    """An explanation of this kind that can explain again."""
    again = partial(explained, MAPS[kind], rng=RNG)
    found = again(problem)
    return dataclasses.replace(found, values=torch.full_like(found.values, 0.25) if kind == "constant" else found.values, again=again)


def with_helpers(metric: Metric, problem: Problem, kind: str) -> Problem:
    """The problem with the helpers that the metric asks for: networks with other random weights."""
    training = Training(Digits(), components("model")["conv16_conv32_gap"], Trainer(), 0)
    helpers = {}
    for number, name in enumerate(metric.needs(training, MAPS[kind])):
        helpers[name] = perturbed(problem.model, number)
    return dataclasses.replace(problem, helpers=helpers)


def mosaic(problem: Problem) -> Problem:
    """The problem with masks that are a quarter of the image, another one for each target."""
    masks = torch.zeros_like(problem.masks)
    height, width = masks.shape[2] // 2, masks.shape[3] // 2
    masks[:, 0::2, :height, :width] = True
    masks[:, 1::2, height:, :width] = True
    return dataclasses.replace(problem, masks=masks)


def lively(problem: Problem) -> Problem:
    """The problem with a network (mlp) that looks at differences of pixels: its predictions change when some are removed."""
    model = copy.deepcopy(problem.model)
    for layer in (layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)):
        layer.weight.data -= layer.weight.mean(dim=1, keepdim=True)
        layer.weight.data *= 2 / layer.weight.std() / layer.in_features**0.5
        layer.bias.data.zero_()
    with torch.inference_mode():
        logits = model(problem.images).clone()
    targets = torch.stack([logits.argmax(1), problem.targets[:, 1]], dim=1)
    return dataclasses.replace(problem, model=model, targets=targets, labels=targets[:, 0], probabilities=logits.softmax(1))


def perturbed(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """A copy with weights that are a little different."""
    draw, other = torch.Generator().manual_seed(seed), copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.data += 0.1 * parameter.abs().mean() * torch.randn(parameter.shape, generator=draw)
    return other


def supported(metric: Metric, problem: Problem, kind: str) -> bool:
    """Whether it scores such explanations; a reason is never empty."""
    reason = metric.unsupported(problem, MAPS[kind])
    assert reason is None or reason.strip()
    return reason is None


def check_metric(metric: Metric, problem: Problem, kind: str) -> bool:
    """Whether it scores explanations of this kind; then its scores, its passes and its traces are checked."""
    problem, found = with_helpers(metric, problem, kind), explanation(kind, problem)
    before = [*footprint(problem, metric), found.values.clone()]
    if not supported(metric, problem, kind):
        return False
    with cost.measure(problem.model, *problem.helpers.values()) as counted:
        scores = scored(metric, problem, found, RNG)
    assert "value" in scores.values
    assert all(value.shape == problem.targets.shape for value in scores.values.values())
    assert all(value.is_floating_point() and not value.isinf().any() for value in scores.values.values())
    if scores.curves:
        axis = scores.fractions
        assert axis is not None
        assert (axis[0], axis[-1]) == (0.0, 1.0)
        assert (axis.diff() > 0).all()
        assert all(curve.shape == (*problem.targets.shape, len(axis)) for curve in scores.curves.values())
    assert counted.passes == metric.passes(problem, MAPS[kind])
    assert same(before, [*footprint(problem, metric), found.values])
    return True


def rows_of(scores: Scores, rows: Any) -> dict[str, torch.Tensor]:
    return {name: value[rows] for name, value in (scores.values | scores.curves).items()}


def assert_scores(found: Scores, expected: dict[str, torch.Tensor], rtol: float = 1e-5, atol: float = 1e-6) -> None:
    assert set(found.values) | set(found.curves) == set(expected)
    for name, value in (dict(found.values) | dict(found.curves)).items():
        torch.testing.assert_close(
            value, expected[name], rtol=rtol, atol=atol, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
        )


def usual(name: str, **changes) -> tuple[Metric, Problem, Attributions]:
    """A metric, a problem with what it needs, and an explanation that it scores."""
    metric = metrics()[name]
    models = ["conv16_conv32_gap", "additive"]
    for model, kind, masks in itertools.product(models, ["signed", "complete"], [lambda problem: problem, mosaic]):
        problem = with_helpers(metric, masks(make_problem(model, **changes)), kind)
        if supported(metric, problem, kind):
            return metric, problem, explanation(kind, problem)
    raise AssertionError(f"{name} scores no explanation here: {metric.unsupported(problem, MAPS['signed'])}")
