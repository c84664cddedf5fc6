"""Quantus and ours on a trained network and real images: equal at equal settings; and Quantus's known faults, which ours must not have."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from xaibench.adapters import quantus
from xaibench.cost import measure
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.metric_parity import definitions as definitions
from xaibench.metric_parity.__main__ import difference, result
from xaibench.metric_parity.comparisons import COMPARISONS, Comparison, case_of
from xaibench.metric_parity.peers import PEERS
from xaibench.metric_parity.replay import HOLE, replay
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.effective_complexity import EffectiveComplexity
from xaibench.metrics.entropy import Entropy
from xaibench.metrics.infidelity import Infidelity
from xaibench.metrics.input_invariance import InputInvariance
from xaibench.metrics.monotonicity import Monotonicity
from xaibench.metrics.monotonicity_correlation import MonotonicityCorrelation
from xaibench.metrics.non_sensitivity import NonSensitivity
from xaibench.metrics.perturbations import GaussianNoise
from xaibench.metrics.pointing_game import PointingGame
from xaibench.metrics.relative_input_stability import RelativeInputStability
from xaibench.metrics.relative_output_stability import RelativeOutputStability
from xaibench.metrics.relative_representation_stability import RelativeRepresentationStability
from xaibench.metrics.road import Road
from xaibench.metrics.sensitivity_n import SensitivityN
from xaibench.metrics.sparseness import Sparseness
from xaibench.problem import Attributions, Problem
from xaibench.removal import Constant, Marginal
from xaibench.scoring import scored
from xaibench.seeding import Rng

pytestmark = pytest.mark.skipif(not quantus.installed(), reason="Quantus is not installed")
RNG = Rng(0, 0, "parity")
HOLES = Constant(HOLE)
QUICK = {
    RelativeInputStability: {"noise": 0.01},  # at which no copy changes its class
    RelativeOutputStability: {"noise": 0.01},
    RelativeRepresentationStability: {"noise": 0.01},
    Infidelity: {"perturbation": GaussianNoise(samples=20)},
    MonotonicityCorrelation: {"removal": Marginal(samples=1)},
    SensitivityN: {"fractions": (1 / 28, 2 / 28, 3 / 28), "samples": 10},
}


@pytest.fixture
def problem(arrays, network) -> Problem:
    """Two test images of each of three classes, explained for the predicted class."""
    labels = arrays.test.labels
    rows = torch.cat([(labels == label).nonzero()[:2, 0] for label in range(3)])
    images = arrays.test.images[rows]
    with torch.no_grad():
        targets = network(images).argmax(1, keepdim=True)
    return Problem(network, images, targets, labels[rows], rows, arrays.train.images[:20], chunk=64)


@pytest.fixture
def rgb() -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 3)).eval().requires_grad_(False)
    targets = torch.tensor([[0], [2], [1]])
    return Problem(model, torch.rand(3, 3, 8, 8), targets, targets[:, 0], torch.arange(3), torch.rand(2, 3, 8, 8))


def maps(problem: Problem, channels: int = 1) -> Attributions:
    generator = torch.Generator().manual_seed(1)
    return Attributions(torch.randn(len(problem.images), 1, channels, *problem.images.shape[2:], generator=generator))


def values(metric, problem, explanation, name="value"):
    return metric(problem, explanation, RNG).values[name][:, 0].double().numpy()


PAIRS = [(comparison, peer) for comparison in COMPARISONS for peer in PEERS[type(comparison.metric).__name__]]


@pytest.mark.parametrize(("comparison", "peer"), PAIRS, ids=lambda value: getattr(value, "name", ""))
def test_they_are_equal_or_differ_as_expected_and_then_the_definition_decides_for_ours(comparison, peer, problem):
    changed = QUICK.get(type(comparison.metric), {})
    comparison = dataclasses.replace(comparison, metric=dataclasses.replace(comparison.metric, **changed))
    found = result(comparison, peer, problem)
    assert found["found"] == found["expected"], found["difference"]
    if peer.differs:
        assert found["our_error"] < 1e-4
        assert found["quantus_error"] > 1e-3


def test_differences_are_seen():
    right = np.array([1.0, -2.0, np.nan])
    assert difference(right, right) == 0
    assert difference(right * 1.01, right) == pytest.approx(0.01)
    assert difference(np.array([1.0, np.nan, np.nan]), right) == np.inf
    assert difference(right[:2], right) == np.inf


def test_fault_1_several_methods_are_not_all_the_plain_gradient(problem):
    import quantus as library

    methods = {"Gradient": {"xai_lib": "captum"}, "IntegratedGradients": {"xai_lib": "captum"}}
    metric = library.Sparseness(abs=True, normalise=False, disable_warnings=True)
    arrays = {"x_batch": problem.images.numpy(), "y_batch": problem.targets[:, 0].numpy()}
    with quantus._quiet():
        theirs = library.evaluate({"s": metric}, methods, model=problem.model, agg_func=np.mean, call_kwargs={"": {}}, **arrays)
    assert theirs["Gradient"]["s"] == theirs["IntegratedGradients"]["s"]
    ours = [values(Sparseness(), problem, explainer(problem, RNG)).mean() for explainer in (Gradient(), IntegratedGradients())]
    assert abs(ours[0] - ours[1]) > 0.05


def test_fault_2_road_scores_all_images_in_any_batches_and_of_any_channels(problem, rgb):
    explanation, metric = maps(problem), Road(steps=8)
    whole = metric(problem, explanation, RNG)
    parts = [metric(problem.take(slice(row, row + 2)), explanation.take(slice(row, row + 2)), RNG) for row in (0, 2, 4)]
    for name, curve in whole.curves.items():
        assert_close(torch.cat([part.curves[name] for part in parts]), curve)
    assert {len(curve) for curve in whole.curves.values()} == {6}
    assert torch.isfinite(metric(rgb, maps(rgb, 3), RNG).values["value"]).all()
    case = dataclasses.replace(case_of(Comparison(metric), problem), explanation=explanation)
    settings = {"percentages": [20, 40, 60, 80], "noise": 0.0}
    first = case.take(slice(0, 1)).quantus("ROAD", settings)
    assert dataclasses.replace(case, batch=1).quantus("ROAD", settings) == first  # of six images it keeps the first
    with pytest.raises(IndexError):
        quantus.score("ROAD", rgb, maps(rgb, 3).values[:, 0], settings)


def test_fault_3_infidelity_is_its_definition_where_patches_do_not_divide_the_image(problem):
    metric, case = (
        Infidelity(perturbation=GaussianNoise(samples=15), scale="none"),
        case_of(Comparison(Infidelity()), problem),
    )
    inputs = replay(metric, case, RNG).inputs
    right = definitions.each(metric, case, lambda f, x, a, row: definitions.infidelity(f, x, a, inputs[row]))
    ours = values(metric, case.problem, case.explanation)
    assert difference(ours, right) < 1e-5
    mixed = definitions.each(metric, case, lambda f, x, a, row: definitions.infidelity(f, x, a, inputs[row - 1]))
    assert difference(ours, mixed) > 0.1
    with pytest.raises(ValueError, match="cannot reshape"):
        case.quantus("Infidelity", {"perturb_patch_sizes": [5], "n_perturb_samples": 1})


@pytest.mark.parametrize(
    "metric", [EffectiveComplexity(threshold=0.1), Sparseness(), Entropy(), NonSensitivity(removal=Constant(0.0))], ids=repr
)
def test_fault_4_an_images_score_does_not_depend_on_its_neighbors(metric, problem):
    explanation = maps(problem)
    explanation = dataclasses.replace(explanation, values=explanation.values * torch.arange(1, 7)[:, None, None, None, None])
    alone = values(metric, problem.take(slice(0, 1)), explanation.take(slice(0, 1)))
    assert values(metric, problem, explanation)[0] == pytest.approx(alone[0], abs=1e-6)
    settings = {"abs": True, "normalise": True, "eps": 0.1}
    together = quantus.score("EffectiveComplexity", problem, explanation.values[:, 0], settings)[0]
    assert together != quantus.score("EffectiveComplexity", problem.take(slice(0, 1)), explanation.values[:1, 0], settings)[0]


def test_fault_5_areas_have_both_ends_and_the_fraction_on_the_axis(problem):
    case = case_of(Comparison(Deletion()), problem)
    area = {}
    for steps in (28, 56):
        metric = Deletion(steps=steps)
        right = definitions.each(
            metric, case, lambda f, x, a, row, steps=steps: definitions.area(definitions.flipping(f, x, a, steps, 0.0))
        )
        ours = values(metric, case.problem, case.explanation)
        assert difference(ours, right) < 1e-5
        settings = {"features_in_step": 784 // steps, "perturb_baseline": 0.0, "return_auc_per_sample": True}
        area[steps] = ours.mean(), np.mean(case.quantus("PixelFlipping", settings, softmax=True))
    assert area[56][0] == pytest.approx(area[28][0], rel=0.1)
    assert area[56][1] > 1.8 * area[28][1]


def test_fault_6_sensitivity_n_is_over_random_subsets_of_n_pixels(problem):
    metric = SensitivityN(fractions=(0.05, 0.3), samples=10, removal=HOLES)
    case = case_of(Comparison(metric), problem)
    holes = replay(metric, case, RNG).holes()
    for n in metric.sizes(problem):
        subsets = [[subset.nonzero()[:, 0].tolist() for subset in row if int(subset.sum()) == n] for row in holes]
        assert [len(row) for row in subsets] == [10] * len(holes)

        def one(f, x, a, row, subsets=subsets):
            return definitions.sensitivity_n(f, x, a, subsets[row], HOLE)

        assert difference(values(metric, case.problem, case.explanation, f"n_{n}"), definitions.each(metric, case, one)) < 1e-4
    assert len(case.quantus("SensitivityN", {"features_in_step": 28})) == 22  # one number for each step, none for each image


def test_fault_7_all_channels_of_a_pixel_go_together(rgb):
    def halves(call) -> int:
        """How many pixels lost some of their channels, not all."""
        seen = []
        hook = rgb.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        call()
        hook.remove()
        gone = (torch.cat(seen) == HOLE).sum(1)
        assert (gone == 3).any()
        return int(((gone > 0) & (gone < 3)).sum())

    explanation = maps(rgb, 3)
    assert halves(lambda: Deletion(steps=8, removal=HOLES)(rgb, explanation, RNG)) == 0
    settings = {"features_in_step": 8, "perturb_baseline": HOLE}
    assert halves(lambda: quantus.score("PixelFlipping", rgb, explanation.values[:, 0], settings)) > 0


def test_fault_8_non_sensitivity_asks_for_each_pixel_once(problem):
    """Quantus 0.6.0 does so too, one pixel at a time; in groups it compares as many groups as pixels, and fails."""
    metric, few = NonSensitivity(removal=Constant(0.0), zero=1e-3, change=1e-3), problem.take(slice(0, 2))
    explanation = maps(few)
    with measure(few.classifier) as cost:
        ours = values(metric, few, explanation)
    assert cost.forward == 2 * (1 + 784)
    right = []
    for row in range(2):
        image, target = few.images[row], int(few.targets[row])
        copies = image.repeat(784, 1, 1, 1)
        copies.flatten(1)[torch.arange(784), torch.arange(784)] = 0
        change = (few.classifier(copies)[:, target] - few.classifier(image[None])[0, target]).abs() > 1e-3
        relevance = explanation.values[row].flatten().abs()
        right.append(((relevance > 1e-3 * relevance.max()) != change).double().mean())
    assert ours == pytest.approx(np.array(right), abs=1e-6)
    with pytest.raises(ValueError, match="broadcast"):
        quantus.score("NonSensitivity", few, explanation.values[:, 0], {"features_in_step": 28})


def test_monotonicity_puts_pixels_in(problem):
    case = case_of(Comparison(Monotonicity()), problem)
    bad = dataclasses.replace(case, explanation=Attributions(-case.explanation.values))
    assert values(Monotonicity(), bad.problem, bad.explanation, "monotone").tolist() == [0.0] * 6
    assert bad.quantus("Monotonicity", {"features_in_step": 28}) == [True] * 6


def test_input_invariance_shifts_every_pixel(problem):
    case = case_of(Comparison(InputInvariance(), Gradient()), problem)
    assert values(InputInvariance(), case.problem, case.explanation).max() < 1e-5
    shifted = []
    explain = lambda model, images, classes: shifted.append(images) or case.explain(model, images, classes)  # noqa: E731
    quantus.score("InputInvariance", case.problem, case.explanation.values[:, 0], explain=explain)
    moved = (shifted[-1] - case.problem.images).flatten(1)
    assert (moved[:, 0] == 0).all()
    assert (moved[:, 1:] + 1).abs().max() < 1e-6


def test_an_absent_object_is_not_a_hit(problem):
    nothing = dataclasses.replace(problem, masks=torch.zeros(6, 1, 28, 28, dtype=torch.bool))
    assert np.isnan(values(PointingGame(), nothing, maps(nothing))).all()
    assert quantus.score("PointingGame", nothing, maps(nothing).values[:, 0], masks=nothing.masks[:, 0]) == [True] * 6


def test_relative_stability_leaves_out_copies_of_another_class(problem):
    metric = RelativeInputStability(samples=20, noise=0.6)
    case = case_of(Comparison(metric, Gradient()), problem)
    theirs = PEERS["RelativeInputStability"][0].call(metric, dataclasses.replace(case, replayed=replay(metric, case, RNG)))
    ours = values(metric, case.problem, case.explanation)
    assert np.isnan(theirs).sum() > np.isnan(ours).sum()
    kept = ~np.isnan(theirs)
    assert difference(ours[kept], theirs[kept]) < 1e-5


def test_batches_of_any_size_give_the_same(problem):
    explanation, batches = maps(problem), dataclasses.replace(problem, chunk=7)
    whole = scored(Deletion(), problem, explanation, RNG).values["value"]
    assert_close(scored(Deletion(), batches, explanation, RNG).values["value"], whole, rtol=1e-5, atol=0)
