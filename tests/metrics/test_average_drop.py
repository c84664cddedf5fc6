"""Average drop, increase and gain against loops in float64, and where probabilities are saturated."""

from dataclasses import replace

import pytest
import torch
from ranking_cases import RNG, conv_problem, random_attributions
from torch import nn

from xaibench.explainers.gradient import Gradient
from xaibench.metrics import masked_image
from xaibench.metrics.average_drop import AverageDrop
from xaibench.metrics.average_gain import AverageGain
from xaibench.metrics.average_increase import AverageIncrease
from xaibench.problem import Attributions
from xaibench.removal import Blur, Constant, Marginal, Removal

DEFINITIONS = {
    AverageDrop: lambda before, after: max(0.0, before - after) / before,
    AverageIncrease: lambda before, after: float(after > before),
    AverageGain: lambda before, after: max(0.0, after - before) / (1 - before),
}
every = pytest.mark.parametrize("kind", DEFINITIONS)


def value(metric, problem, attributions):
    return metric(problem, attributions, RNG).values["value"]


def mild(problem):
    """With smaller logits: probabilities that float64 tells from 0 and 1."""
    return replace(problem, model=nn.Sequential(problem.model, Scaled(0.2)).eval())


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, logits):
        return logits * self.factor


def loop(metric, problem, attributions):
    found = torch.empty(problem.targets.shape)
    for b in range(len(problem.images)):
        for t in range(problem.targets.shape[1]):
            heat = attributions.values[b, t].double().sum(0)
            heat = {"zero": heat.clamp_min(0), "abs": heat.abs(), "keep": heat}[metric.negative]
            heat = (heat - heat.min()) / (heat.max() - heat.min())
            empty = torch.full_like(problem.images[b], metric.removal.value)
            masked = (heat * problem.images[b] + (1 - heat) * empty).float()
            with torch.inference_mode():
                both = problem.model(torch.stack([problem.images[b], masked])).double().softmax(1)[:, problem.targets[b, t]].tolist()
            found[b, t] = DEFINITIONS[type(metric)](*both)
    return found


@every
@pytest.mark.parametrize("negative", ["zero", "abs", "keep"])
@pytest.mark.parametrize("removed", [0.0, 0.6])
def test_scores_equal_loops_over_images_and_targets(kind, negative, removed):
    problem = mild(conv_problem(batch=6))
    maps = random_attributions(problem)
    metric = kind(negative=negative, removal=Constant(removed))
    expected = loop(metric, problem, maps)
    assert torch.allclose(value(metric, problem, maps), expected, atol=1e-5)
    assert len(expected.unique()) > 1
    if kind is not AverageIncrease:
        others = [replace(metric, negative=other) for other in {"zero", "abs", "keep"} - {negative}]
        assert all(not torch.allclose(value(other, problem, maps), expected, atol=1e-3) for other in others)
        assert not torch.allclose(value(replace(metric, removal=Blur()), problem, maps), expected, atol=1e-3)


def whole_batch(self, problem, explanation):
    """Fault 4 of PITFALLS: maps scaled by the extremes of the batch."""
    maps = explanation.values.sum(2).flatten(0, 1).clamp_min(0)
    return ((maps - maps.min()) / (maps.max() - maps.min()))[:, None]


def targets_swapped(self, problem, explanation):
    maps = explanation.values.flip(1).sum(2).flatten(0, 1).clamp_min(0)
    return (maps / maps.amax((1, 2), keepdim=True))[:, None]


@pytest.mark.parametrize("kind", [AverageDrop, AverageGain])
@pytest.mark.parametrize("fault", [whole_batch, targets_swapped])
def test_loops_reject_mutants(kind, fault, monkeypatch):
    problem = mild(conv_problem(batch=6))
    maps = random_attributions(problem)
    monkeypatch.setattr(masked_image.MaskedImageMetric, "weights", fault)
    assert not torch.allclose(value(kind(), problem, maps), loop(kind(), problem, maps), atol=1e-3)


@every
def test_fault_4_normalization_of_quantus_a_score_does_not_depend_on_neighbors(kind):
    problem = mild(conv_problem(batch=6))
    maps = random_attributions(problem)
    maps.values[3] *= 1000
    expected = value(kind(), problem, maps)
    alone = torch.cat([value(kind(), problem.take(slice(b, b + 1)), maps.take(slice(b, b + 1))) for b in range(6)])
    assert torch.allclose(alone, expected, atol=1e-5)


@every
def test_scale_and_what_lies_below_0_change_nothing(kind):
    problem = mild(conv_problem())
    maps = random_attributions(problem).values.sum(2, keepdim=True)
    expected = value(kind(), problem, Attributions(maps))
    assert torch.allclose(value(kind(), problem, Attributions(maps * 1e-4)), expected, atol=1e-5)
    assert torch.equal(value(kind(), problem, Attributions(torch.where(maps < 0, 9 * maps, maps))), expected)


class Odds(nn.Module):
    """Two classes; the log-odds of the first are 10 times the sum of the image."""

    def forward(self, images):
        return torch.stack([10 * images.flatten(1).sum(1), torch.zeros(len(images))], dim=1)


def test_saturated_probabilities_are_told_apart():
    """An image whose probability float32 takes for 1, half of which is taken away."""
    problem = conv_problem(batch=1, channels=1, targets=1, size=3)
    images = torch.tensor([1.0, 0, 0, 0, 1.0, 0, 0, 0, 0]).reshape(1, 1, 3, 3) * 2
    problem = replace(problem, model=Odds(), images=images, targets=torch.zeros_like(problem.targets))
    half = torch.zeros(1, 1, 1, 3, 3)
    half[..., 0, 0] = 1.0
    expected = (torch.tensor(40.0).sigmoid() - torch.tensor(20.0, dtype=torch.float64).sigmoid()).item()
    assert value(AverageDrop(), problem, Attributions(half)).item() == pytest.approx(expected, rel=1e-4)
    assert value(AverageIncrease(), problem, Attributions(half)).item() == 0
    other = replace(problem, targets=torch.ones_like(problem.targets))
    assert value(AverageIncrease(), other, Attributions(half)).item() == 1
    assert value(AverageGain(), other, Attributions(half)).item() == pytest.approx(expected, rel=1e-4)
    darker = replace(problem, images=-images)  # from log-odds -40 to -20: nearly nothing of what is missing
    assert value(AverageGain(), darker, Attributions(half)).item() == pytest.approx(torch.tensor(-20.0).sigmoid().item(), rel=1e-4)
    brighter = replace(problem, images=torch.where(half[0] > 0, images, -images / 2))
    assert value(AverageGain(), brighter, Attributions(half)).item() == pytest.approx(1 - 4.54e-5, abs=1e-6)  # from 10 to 20


@every
def test_what_is_not_defined(kind):
    problem = mild(conv_problem())
    maps = random_attributions(problem)
    maps.values[0, 0] = 0.3
    maps.values[1, 1] = -maps.values[1, 1].abs()
    maps.values[2, 0, 1, 2, 2] = torch.nan
    maps.values[2, 1, 1, 2, 2] = torch.inf
    assert value(kind(), problem, maps).isnan().tolist() == [[True, False], [False, True], [True, True], [False, False]]


class Whole(Removal):
    local = False

    def __call__(self, images, kept, problem, draw=None):
        return images * kept


def test_removals_that_a_weight_means_nothing_to_are_refused():
    problem = conv_problem()
    assert "versions" in AverageDrop(removal=Marginal(3)).unsupported(problem, Gradient())
    assert "weighted" in AverageDrop(removal=Whole()).unsupported(problem, Gradient())
    assert AverageDrop(removal=Blur()).unsupported(problem, Gradient()) is None
