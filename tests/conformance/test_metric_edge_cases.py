"""Every metric in conf/ where there is little to tell: one class, a classifier that never changes its mind, odd sizes, tiny maps."""

import dataclasses
from typing import get_args, get_type_hints

import pytest
import torch
from conformance_cases import RNG, names
from metric_cases import explanation, metrics, supported, usual, with_helpers
from torch import nn

from xaibench.problem import Attributions, Problem
from xaibench.scoring import Scores, scored

every_metric = pytest.mark.parametrize("name", names("metric"))


def network(channels: int, size: tuple[int, int], classes: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        layers = (nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * (size[0] - 2) * (size[1] - 2), classes))
        return nn.Sequential(*layers).eval().requires_grad_(False)


def problem_of(model: nn.Module, shape: tuple[int, int, int], classes: int, label: int = 0) -> Problem:
    draw = torch.Generator().manual_seed(2)
    images = torch.rand(3, *shape, generator=draw)
    target = torch.zeros(3, 1, dtype=torch.int64)
    with torch.inference_mode():
        probabilities = model(images).softmax(1).clone()
    masks = torch.zeros(3, 1, *shape[1:], dtype=torch.bool)
    masks[..., : shape[1] // 2, : shape[2] // 2] = True
    background = torch.rand(4, *shape, generator=draw)
    labels, index = torch.full((3,), label), torch.tensor([5, 2, 9])
    return Problem(model, images, target, labels, index, background, probabilities, masks, chunk=32)


def outcome(name: str, problem: Problem, kind: str = "complete") -> Scores | None:
    """The scores, or None where the metric says why not."""
    metric = metrics()[name]
    problem = with_helpers(metric, problem, kind)
    if not supported(metric, problem, kind):
        return None
    found = scored(metric, problem, explanation(kind, problem), RNG)
    assert all(value.shape == problem.targets.shape and not value.isinf().any() for value in found.values.values())
    return found


@every_metric
def test_a_classifier_of_one_class_has_defined_outcomes(name):
    found = outcome(name, problem_of(network(1, (9, 8), 1), (1, 9, 8), 1))
    if found is not None and name in {"deletion", "insertion", "roar", "sufficiency", "comprehensiveness"}:
        assert (found.values["value"] == (0 if name in {"sufficiency", "comprehensiveness"} else 1)).all()


CONSTANT = {
    "deletion": 1.0,
    "insertion": 1.0,
    "road": 0.0,
    "abpc": 0.0,
    "accuracy_vs_saturation": 0.0,
    "minimal_subset": 0.0,
}
UNDEFINED = {"sensitivity_n", "faithfulness_correlation", "faithfulness_estimate", "mufidelity", "monotonicity_correlation"}


@every_metric
@pytest.mark.parametrize("label", [0, 1])
def test_a_classifier_that_is_always_right_or_always_wrong(name, label):
    model = network(1, (9, 8), 2)
    model[3].weight.data.zero_()
    model[3].bias.data = torch.tensor([100.0, 0.0])  # class 0, whatever it sees
    found = outcome(name, problem_of(model, (1, 9, 8), 2, label))
    if found is not None and name in CONSTANT:
        assert torch.allclose(found.values["value"], torch.tensor(CONSTANT[name]))
    if found is not None and name in UNDEFINED:
        assert found.values["value"].isnan().all()


@every_metric
@pytest.mark.parametrize("shape", [(1, 11, 13), (3, 9, 10)])
def test_sizes_that_no_patch_divides(name, shape):
    found = outcome(name, problem_of(network(shape[0], shape[1:], 3), shape, 3))
    assert found is None or found.values["value"].shape == (3, 1)


@every_metric
def test_a_map_of_one_pixel_or_of_huge_and_tiny_values(name):
    metric, problem, found = usual(name)
    alone = torch.zeros_like(found.values)
    alone[..., 4, 4] = 1.0
    for values in (alone, found.values * 1e-20, found.values * 1e18):
        scores = metric(problem, dataclasses.replace(found, values=values), RNG)
        finite = {key: value for key, value in scores.values.items() if key != "relative"}
        assert not any(value.isinf().any() for value in finite.values())


@every_metric
@pytest.mark.parametrize("end", [torch.inf, -torch.inf])
def test_a_map_with_an_infinite_value_in_a_channel_has_no_score_where_a_metric_says_so(name, end):
    """However the channels are taken together, and whatever becomes of negative values."""
    metric, problem, clean = usual(name, shape=(3, 12, 10))
    if " infinite" not in (type(metric).__doc__ or ""):
        return
    values = clean.values.expand(-1, -1, 3, -1, -1).clone()
    values[0, 1, 0, 3, 3] = end
    for pooling in get_args(get_type_hints(type(metric)).get("pooling")) or (None,):
        chosen = metric if pooling is None else dataclasses.replace(metric, pooling=pooling)
        found = chosen(problem, dataclasses.replace(clean, values=values), RNG).values["value"]
        assert found[0, 1].isnan(), pooling
        assert metric.set_level or not found[1:].isnan().all(), pooling


def test_the_checks_notice_infinite_scores():
    class Broken(type(metrics()["sparseness"])):
        def __call__(self, problem: Problem, explanation: Attributions, rng) -> Scores:
            return Scores({"value": torch.full(problem.targets.shape, torch.inf)})

    problem = problem_of(network(1, (9, 8), 2), (1, 9, 8), 2)
    values = scored(Broken(), problem, explanation("complete", problem), RNG).values["value"]
    assert values.isinf().all()
