"""The metrics that are read off removal curves, against closed forms and numbers counted by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from curve_cases import CLASSES
from ranking_cases import RNG, linear_problem
from torch import nn

from xaibench import component
from xaibench.metrics.abpc import Abpc
from xaibench.metrics.aopc import Aopc
from xaibench.metrics.comprehensiveness import Comprehensiveness
from xaibench.metrics.irof import Irof
from xaibench.metrics.minimal_subset import MinimalSubset
from xaibench.metrics.region_perturbation import RegionPerturbation
from xaibench.metrics.road import Road
from xaibench.metrics.selectivity import Selectivity
from xaibench.metrics.sufficiency import Sufficiency
from xaibench.problem import Attributions, Problem
from xaibench.removal import Constant, Marginal
from xaibench.superpixels import Patches, Pixels

CONF = Path(__file__).parents[2] / "conf" / "metric"


# --- closed forms


def closed_forms(effects):
    """Scores of linear logits when pixels become 0, all (B, T), from the effects (B, T, C, 6, 6) of the inputs."""
    down = effects.sum(2).flatten(2).sort(2, descending=True).values
    gone, rest = (torch.nn.functional.pad(part.cumsum(2), (1, 0)) for part in (down, down.flip(2)))
    counts = [1, 2, 4, 7, 18]  # 1, 5, 10, 20, 50 % of 36
    return {
        Aopc(steps=36, output="logit"): gone.mean(2),
        Aopc(steps=36, output="logit", order="least"): -rest.mean(2),
        Abpc(steps=36, output="logit"): (gone - rest)[..., 1:-1].sum(2) / 36,
        Comprehensiveness(output="logit"): gone[..., counts].mean(2),
        Sufficiency(output="logit"): (gone[..., -1:] - gone[..., counts]).mean(2),
    }


def check_closed_forms(problem, given, effects):
    for metric, expected in closed_forms(effects).items():
        torch.testing.assert_close(metric(problem, Attributions(given), RNG).values["value"], expected, rtol=1e-4, atol=1e-5)


def test_linear_logits_have_closed_forms():
    problem, effects = linear_problem()
    check_closed_forms(problem, effects, effects)


@pytest.mark.parametrize("mutate", [torch.neg, torch.abs, lambda effects: effects.roll(1, 4), lambda effects: effects.flip(1)])
def test_the_closed_forms_reject_other_maps_for_each_metric(mutate):
    problem, effects = linear_problem()
    for metric, expected in closed_forms(effects).items():
        found = metric(problem, Attributions(mutate(effects)), RNG).values["value"]
        assert not torch.allclose(found, expected, rtol=1e-3, atol=1e-3), metric


def test_patches_of_a_linear_logit_go_by_their_own_effects():
    problem, effects = linear_problem()
    patches = effects.sum(2).unfold(2, 2, 2).unfold(3, 2, 2).sum((4, 5)).flatten(2).sort(2, descending=True).values
    gone = torch.nn.functional.pad(patches.cumsum(2), (1, 0))
    with torch.inference_mode():
        whole = problem.model(problem.images).gather(1, problem.targets)
    mean = RegionPerturbation(removal=Constant(), superpixels=Patches(2), output="logit")(problem, Attributions(effects), RNG)
    torch.testing.assert_close(mean.values["value"], gone.mean(2), rtol=1e-4, atol=1e-5)
    area = Selectivity(superpixels=Patches(2))(problem, Attributions(effects), RNG).values["value"]
    expected = whole - gone[..., 1:-1].sum(2) / 9 - gone[..., -1] / 18
    torch.testing.assert_close(area, expected, rtol=1e-4, atol=1e-5)
    for faulty in (
        Selectivity(superpixels=Pixels()),
        Selectivity(superpixels=Patches(3)),
        Selectivity(superpixels=Patches(2), pooling="max"),
    ):
        assert not torch.allclose(faulty(problem, Attributions(effects), RNG).values["value"], expected, atol=1e-3)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_reverse_of_the_true_effects_is_worse(kind):
    problem, effects = linear_problem(batch=6)
    with torch.inference_mode():
        problem = replace(problem, targets=problem.model(problem.images).argmax(1, keepdim=True).clone())
    effects = problem.model[1].weight.reshape(4, 1, 2, 6, 6)[problem.targets[:, 0]] * problem.images[:, None]
    sides = {"superpixels": Patches(2)} if kind in (RegionPerturbation, Selectivity) else {}
    metric = kind(removal=Constant(), **sides)
    good, bad = (metric(problem, Attributions(maps), RNG).values["value"].mean() for maps in (effects, -effects))
    assert good > bad if metric.higher_is_better else good < bad


# --- numbers counted by hand


class Bright(nn.Module):
    """Two classes; the logit of the second is the number of bright pixels less `half`."""

    def __init__(self, half):
        super().__init__()
        self.half = half

    def forward(self, images):
        return torch.stack([torch.zeros(len(images)), images.sum(dim=(1, 2, 3)) - self.half], dim=1)


def bright(count=10, half=6.5, target=1):
    """4 x 4 pixels, the first `count` of them 1; relevance falls from the first to the last."""
    image = (torch.arange(16) < count).float().reshape(1, 1, 4, 4)
    one = torch.tensor([target])
    problem = Problem(Bright(half), image, one[:, None], one, index=one, background=torch.zeros_like(image))
    return problem, Attributions(16.0 - torch.arange(16.0).reshape(1, 1, 1, 4, 4))


def value(metric, problem, attributions):
    return metric(problem, attributions, RNG).values["value"].item()


@pytest.mark.parametrize(
    ("fields", "pixels", "reversed_pixels"),
    [
        ({"output": "correct"}, 7, 13),  # more than 6.5 bright ones; from the other end six dark ones come first
        ({"share": 0.9}, 9, 15),  # sigmoid(n - 6.5) >= 0.9 sigmoid(3.5) from n = 8.44
        ({"share": 0.5}, 7, 13),  # from n = 6.44
        ({"share": 1.0}, 10, 16),
        ({"share": 0.0}, 0, 0),
    ],
)
def test_minimal_subset_by_hand(fields, pixels, reversed_pixels):
    problem, attributions = bright()
    metric = MinimalSubset(steps=16, **fields)
    assert value(metric, problem, attributions) == pixels / 16
    assert value(metric, problem, Attributions(-attributions.values)) == reversed_pixels / 16
    assert value(replace(metric, steps=4), problem, attributions) == -(-pixels // 4) / 4


def test_minimal_subset_of_a_class_that_is_never_or_always_predicted():
    never, attributions = bright(half=20.0)
    assert value(MinimalSubset(output="correct"), never, attributions) != value(MinimalSubset(output="correct"), never, attributions)
    assert value(MinimalSubset(steps=16), never, attributions) == 10 / 16  # the probability is still found again
    always, _ = bright(half=-1.0)
    assert value(MinimalSubset(output="correct"), always, attributions) == 0.0


def test_minimal_subset_of_a_probability_that_float32_takes_for_0():
    """Log-odds n - 120 of n bright pixels, of six: sigmoid(n - 120) >= 0.3 sigmoid(6 - 120) from n = 4.8."""
    problem, attributions = bright(count=6, half=120.0)
    metric = MinimalSubset(removal=Constant(), steps=16, share=0.3)
    assert value(metric, problem, attributions) == 5 / 16
    assert value(replace(metric, share=0.9), problem, attributions) == 6 / 16
    assert value(replace(metric, share=0.0), problem, attributions) == 0
    curve = metric(problem, attributions, RNG).curves["probability"]
    assert not curve.any()
    without = replace(problem, model=nn.Sequential(problem.model, Infinite()))
    assert math.isnan(value(metric, without, attributions))


def test_minimal_subset_averages_probabilities_of_several_draws_and_not_their_logarithms():
    problem, attributions = bright(count=10, half=6.5)
    background = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    problem = replace(problem, background=background)
    drawn = MinimalSubset(removal=Marginal(2), steps=16, share=0.7)
    scores = drawn(problem, attributions, RNG)
    curve = scores.curves["probability"][0, 0]
    # kept n of the ten bright ones first: the draw of zeros leaves n bright, that of ones n + (16 - n) or, beyond ten, the rest
    bright_ones = [[min(n, 10), 16 - max(n - 10, 0)] for n in range(17)]
    expected = torch.tensor(bright_ones, dtype=torch.float64).sub(6.5).sigmoid().mean(1)
    assert torch.allclose(curve.double(), expected, atol=1e-6)
    assert scores.values["value"].item() == (expected >= 0.7 * expected[-1]).int().argmax().item() / 16
    logarithms = torch.tensor(bright_ones, dtype=torch.float64).sub(6.5).sigmoid().log().mean(1)
    assert (logarithms >= math.log(0.7) + logarithms[-1]).int().argmax() != (expected >= 0.7 * expected[-1]).int().argmax()


class Infinite(nn.Module):
    """The second class has no probability at all."""

    def forward(self, logits):
        return torch.stack([logits[:, 0], torch.full_like(logits[:, 1], -torch.inf)], dim=1)


def test_minimal_subset_is_the_first_crossing():
    problem, attributions = bright()
    falling = replace(problem, images=1 - problem.images, model=nn.Sequential(nn.Flatten(), Rises()))
    assert value(MinimalSubset(steps=16, output="correct"), falling, Attributions(-attributions.values)) == 2 / 16


class Rises(nn.Module):
    """The second class is predicted for two bright pixels, and from six on."""

    def forward(self, pixels):
        count = pixels.sum(1)
        return torch.stack([torch.zeros_like(count), torch.where((count == 2) | (count > 5), 1.0, -1.0)], dim=1)


def test_road_by_hand():
    problem, attributions = bright()
    scores = Road(removal=Constant(), steps=16)(problem, attributions, RNG)
    # most relevant first: right while at most 3 bright ones are gone; least relevant first: the 6 dark ones go before
    assert scores.curves["correct_most_first"].flatten().tolist() == [1.0] * 4 + [0.0] * 13
    assert scores.curves["correct_least_first"].flatten().tolist() == [1.0] * 10 + [0.0] * 7
    assert scores.values["most_first"].item() == pytest.approx(3.5 / 16)
    assert scores.values["least_first"].item() == pytest.approx(9.5 / 16)
    assert scores.values["value"].item() == pytest.approx(3 / 16)


def test_irof_is_relative_to_the_whole_image_and_undefined_where_that_is_not_positive():
    by_logit = Irof(removal=Constant(), superpixels=Pixels(), steps=16, output="logit")
    problem, attributions = bright(count=16, half=0.0)
    assert value(by_logit, problem, attributions) == pytest.approx(0.5)  # 1, 15/16, ... 0
    dark, _ = bright(count=4, half=5.0)
    assert by_logit(dark, attributions, RNG).values["value"].isnan()
    tiny, _ = bright(count=10, half=110.0)
    assert Irof(removal=Constant(), superpixels=Pixels())(tiny, attributions, RNG).values["value"].isnan()  # of size 1e-43
    small, _ = bright(count=10, half=90.0)
    assert Irof(removal=Constant(), superpixels=Pixels())(small, attributions, RNG).values["value"].isfinite()


@pytest.mark.parametrize("kind", [Abpc, Aopc, Comprehensiveness, Irof, RegionPerturbation, Road, Sufficiency])
@pytest.mark.parametrize("half", [-100.0, 100.0])
def test_a_classifier_that_is_always_right_or_always_wrong_scores_zero(kind, half):
    problem, attributions = bright(half=half)
    with_patches = {"superpixels": Patches(2)} if kind is RegionPerturbation else {"superpixels": Pixels()}
    found = kind(**with_patches)(problem, attributions, RNG).values["value"]
    assert found.isnan() if kind is Irof and half > 0 else abs(found.item()) < 1e-6


# --- fields


@pytest.mark.parametrize("kind", CLASSES)
def test_the_yaml_gives_the_defaults(kind):
    found = [
        component.build(yaml.safe_load(path.read_text()), "metric")
        for path in CONF.glob("*.yaml")
        if f".{kind.__name__}\n" in path.read_text()
    ]
    assert found == [kind()]


@pytest.mark.parametrize("kind", [Comprehensiveness, Sufficiency])
@pytest.mark.parametrize("bins", [(), (0.0,), (1.0,), (0.5, 0.1), (0.1, 0.1), (0.5, 1.5)])
def test_shares_that_do_not_ascend_between_0_and_1_are_refused(kind, bins):
    with pytest.raises(component.ConfigurationError, match=rf"{kind.__name__}\.bins="):
        kind(bins=bins)


def test_shares_of_few_regions_are_at_least_one():
    problem, attributions = bright()
    scores = Comprehensiveness(superpixels=Patches(2), output="logit")(problem, attributions, RNG)
    # four patches of 4, 4, 2 and 0 bright pixels, the left before the right: 1, 1, 1, 1 and 2 of them go
    assert scores.curves["logit"].flatten().tolist() == [3.5, -0.5, -0.5, -0.5, -0.5, -4.5, -6.5]
    assert scores.fractions.tolist() == [0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0]


def test_patches_are_cut_off_at_the_right_and_lower_border():
    (regions,) = Patches(3)(torch.zeros(2, 1, 5, 7))
    assert regions.tolist() == [[0, 0, 0, 1, 1, 1, 2]] * 3 + [[3, 3, 3, 4, 4, 4, 5]] * 2
    assert Patches(9)(torch.zeros(1, 1, 8, 5)).unique().tolist() == [0]
