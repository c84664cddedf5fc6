"""Non-sensitivity against closed forms and loops."""

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from ranking_cases import RNG, conv_problem, linear_problem, random_attributions

from xaibench import cost
from xaibench.explainers.gradient import Gradient
from xaibench.metrics.non_sensitivity import NonSensitivity
from xaibench.problem import Attributions, Passes
from xaibench.removal import Constant, Marginal


def blind_linear(ignored, background):
    """A linear classifier of 1 x 3 x 3 images that gives no weight to some pixels, and the problem."""
    problem, _ = linear_problem(batch=4, channels=1, size=3)
    problem.model[1].weight.data[:, ignored] = 0.0
    return replace(problem, background=background)


def check_non_sensitivity(metric, problem, attributions):
    """Loops over images, targets, pixels and versions."""
    found = metric(problem, attributions, RNG).values
    versions = problem.background[: metric.removal.samples]
    for b, t in itertools.product(range(4), range(2)):
        pixels = attributions.values[b, t].double().sum(0).flatten().abs().tolist()
        target, counts = problem.targets[b, t], {"unfounded": 0, "missed": 0}
        for pixel, size in enumerate(pixels):
            changes = []
            for version in versions:
                altered = problem.images[b].clone()
                row, column = divmod(pixel, altered.shape[2])
                altered[:, row, column] = version[:, row, column]
                with torch.inference_mode():
                    both = problem.model(torch.stack([problem.images[b], altered]))[:, target]
                changes.append(abs(both[1] - both[0]).item())
            influence, relevance = sum(changes) / len(changes) > metric.change, size > metric.zero * max(pixels)
            counts["unfounded"] += relevance and not influence
            counts["missed"] += influence and not relevance
        for name, count in counts.items():
            assert found[name][b, t].item() == pytest.approx(count / len(pixels))
        assert found["value"][b, t].item() == pytest.approx(sum(counts.values()) / len(pixels))


def half_relevant(problem):
    values = random_attributions(problem).values
    return Attributions(torch.where(torch.rand(values.shape[-2:], generator=torch.Generator().manual_seed(0)) < 0.5, values, 1e-9 * values))


def test_non_sensitivity_equals_loops():
    problem = conv_problem()
    check_non_sensitivity(NonSensitivity(removal=Marginal(samples=3), change=0.4), problem, half_relevant(problem))


@pytest.mark.parametrize("wrong", [{"zero": 0.0}, {"change": 0.0}, {"removal": Marginal(samples=2)}, {"output": "probability"}])
def test_the_loops_reject_mutants(wrong):
    problem = conv_problem()
    metric = NonSensitivity(removal=Marginal(samples=3), change=0.4)

    @dataclass(frozen=True)
    class Mutant(NonSensitivity):
        def __call__(self, *arguments):
            return replace(metric, **wrong)(*arguments)

    with pytest.raises(AssertionError):
        check_non_sensitivity(Mutant(removal=metric.removal, change=metric.change), problem, half_relevant(problem))


def test_zero_relevance_for_all_that_has_no_influence_and_nothing_else_scores_0():
    ignored = [0, 4, 5]
    problem = blind_linear(ignored, torch.rand(5, 1, 3, 3))
    weights = problem.model[1].weight.reshape(4, 1, 3, 3)[problem.targets]
    assert (NonSensitivity()(problem, Attributions(weights), RNG).values["value"] == 0).all()
    found = NonSensitivity()(problem, Attributions(torch.ones(4, 2, 1, 3, 3)), RNG).values
    assert torch.allclose(found["unfounded"], torch.tensor(3 / 9))
    assert (found["missed"] == 0).all()
    found = NonSensitivity()(problem, Attributions(torch.zeros(4, 2, 1, 3, 3)), RNG).values
    assert torch.allclose(found["missed"], torch.tensor(6 / 9))
    assert (found["unfounded"] == 0).all()


def test_changes_of_opposite_sign_do_not_hide_each_other():
    """The two versions of a pixel lie as far above as below it, so the mean output does not change."""
    problem = blind_linear([4], torch.rand(2, 1, 3, 3)).take(slice(0, 1))
    shift = 0.1 * torch.ones(1, 1, 3, 3)
    problem = replace(problem, background=torch.cat([problem.images + shift, problem.images - shift]))
    found = NonSensitivity()(problem, Attributions(torch.ones(1, 2, 1, 3, 3)), RNG).values["value"]
    assert torch.allclose(found, torch.tensor(1 / 9))


def test_a_pixel_that_already_has_the_constant_has_no_influence():
    problem = blind_linear([], torch.rand(1, 1, 3, 3))
    problem.images[:, :, 1] = 0.0
    found = NonSensitivity(removal=Constant(0.0))(problem, Attributions(torch.ones(4, 2, 1, 3, 3)), RNG).values["value"]
    assert torch.allclose(found, torch.tensor(3 / 9))


def test_pitfall_8_non_sensitivity_predicts_each_altered_image_once():
    """Quantus predicts the whole batch again for every sample and feature."""
    problem, metric = conv_problem(), NonSensitivity(removal=Marginal(samples=3))
    with cost.measure(problem.model) as counted:
        found = metric(problem, random_attributions(problem), RNG).values["value"]
    assert counted.passes == metric.passes(problem, Gradient()) == Passes(4 * (1 + 36 * 3))
    alone = metric(problem.take(slice(2, 3)), Attributions(random_attributions(problem).values[2:3]), RNG).values["value"]
    assert torch.equal(alone, found[2:3])


def test_groups_of_images_give_what_all_at_once_give(monkeypatch):
    problem, metric = conv_problem(), NonSensitivity(removal=Marginal(samples=3), change=0.4)
    expected = metric(problem, half_relevant(problem), RNG).values["value"]
    monkeypatch.setattr("xaibench.metrics.non_sensitivity.GROUP_VALUES", 1)
    assert torch.equal(metric(problem, half_relevant(problem), RNG).values["value"], expected)
