"""Input invariance, dummy and symmetry: closed forms, loops, and methods that are known to keep the axioms."""

import functools
import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from ranking_cases import RNG, conv_problem, linear_problem, random_attributions
from torch import nn

from xaibench import baselines, cost
from xaibench.explainers.deep_lift import DeepLift
from xaibench.explainers.expected_gradients import ExpectedGradients
from xaibench.explainers.full_grad import FullGrad
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.lrp_alpha2_beta1 import LrpAlpha2Beta1
from xaibench.explainers.random import Random
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.explaining import explained
from xaibench.metrics import altered_network, dummy_error, symmetry_error
from xaibench.metrics.dummy_error import DummyError
from xaibench.metrics.input_invariance import InputInvariance
from xaibench.metrics.symmetry_error import SymmetryError
from xaibench.problem import Attributions, Explainer, Passes


def padded_problem():
    """Convolutions that pad with zeros, with names by which a layer can be asked for."""
    torch.manual_seed(2)
    problem = conv_problem(batch=3, size=8)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 4)]
    model = nn.Sequential()
    for name, layer in zip(["first", "bend", "second", "bend2", "flat", "head"], layers, strict=True):
        model.add_module(name, layer)
    return replace(problem, model=model.eval().requires_grad_(False))


def score(metric, explainer, problem):
    assert metric.unsupported(problem, explainer) is None
    explanation = replace(explainer(problem, RNG), again=functools.partial(explained, explainer, rng=RNG))
    with cost.measure(problem.model) as counted:
        found = metric(problem, explanation, RNG).values["value"]
    assert counted.passes == metric.passes(problem, explainer)
    return found


ALTERED = [InputInvariance(), DummyError(), SymmetryError()]
METHODS = [Gradient(), LrpAlpha2Beta1(), DeepLift(), FullGrad(), GradCam(), GradCam(layer="first"), Smoothgrad(samples=3)]


@pytest.mark.parametrize("metric", ALTERED, ids=lambda metric: type(metric).__name__)
def test_all_kinds_of_methods_explain_altered_classifiers(metric):
    problem = padded_problem()
    parts = [id(part) for part in problem.model.modules()]
    for explainer in METHODS:
        found = score(metric, explainer, problem)
        assert found.shape == (3, 2)
        assert (found[~found.isnan()] >= 0).all()  # Grad-CAM's maps may be 0 everywhere
        assert found.isfinite().any()
    assert [id(part) for part in problem.model.modules()] == parts


@pytest.mark.parametrize("metric", ALTERED, ids=lambda metric: type(metric).__name__)
def test_what_cannot_be_explained_is_said_with_its_reason(metric):
    problem = conv_problem()
    reason = metric.unsupported(replace(problem, model=nn.Sequential(nn.Flatten(), nn.Linear(108, 4))), LrpAlpha2Beta1())
    assert "altered classifier" in reason
    assert "no convolution" in reason
    assert "needs a model" in metric.unsupported(replace(problem, model=None), Gradient())
    with pytest.raises(ValueError, match="again=None"):
        metric(problem, random_attributions(problem), RNG)


@dataclass(frozen=True)
class Given(Explainer):
    """Maps that were made before, whatever the classifier."""

    seed: int = 0

    def passes(self, problem):
        return Passes()

    def __call__(self, problem, rng):
        return random_attributions(problem, seed=self.seed)


@pytest.mark.parametrize("metric", ALTERED, ids=lambda metric: type(metric).__name__)
def test_nan_in_a_given_or_a_new_map_is_no_score(metric):
    problem, broken = conv_problem(), random_attributions(conv_problem()).values
    broken[1, 0, 2, 3, 3] = torch.nan
    whole = random_attributions(problem, seed=9).values
    for first, second in ((broken, whole), (whole, broken)):
        given = Attributions(first, again=lambda _, values=second: Attributions(values))
        assert metric(problem, given, RNG).values["value"].isnan().nonzero().tolist() == [[1, 0]]


def test_the_shifted_classifier_gives_the_same_logits_also_where_it_pads():
    problem = padded_problem()
    altered = InputInvariance(shift=-0.7).altered(problem)
    with torch.inference_mode():
        assert torch.allclose(altered.model(altered.images), problem.model(problem.images), atol=1e-5)
        assert not torch.allclose(altered.model(problem.images), problem.model(problem.images), atol=1e-2)
    assert torch.allclose(altered.background, problem.background - 0.7)


def test_gradients_do_not_depend_on_the_shift_and_input_x_gradient_does_as_in_its_closed_form():
    problem, _ = linear_problem()
    weights = problem.model[1].weight.reshape(4, 2, 6, 6)[problem.targets]
    assert (score(InputInvariance(), Gradient(), problem) < 1e-5).all()
    for shift in (-1.0, 0.5):
        expected = (shift * weights).flatten(2).norm(dim=2) / (problem.images[:, None] * weights).flatten(2).norm(dim=2)
        assert torch.allclose(score(InputInvariance(shift=shift), InputXGradient(), problem), expected, rtol=1e-4)


def test_class_activation_is_invariant_at_a_layer_that_is_found_or_named():
    problem = padded_problem()
    for explainer in (GradCam(), GradCam(layer="bend")):
        found = score(InputInvariance(), explainer, problem)
        assert (found[~found.isnan()] < 1e-4).all()
        assert found.isfinite().any()


def test_integrated_gradients_are_invariant_with_a_baseline_from_the_data_and_not_with_a_black_one():
    """Kindermans et al., section 3.2."""
    problem = padded_problem()
    assert (score(InputInvariance(), IntegratedGradients(steps=5, baseline=baselines.BackgroundMean()), problem) < 1e-4).all()
    assert (score(InputInvariance(), IntegratedGradients(steps=5), problem) > 0.1).all()


def test_input_invariance_is_the_distance_relative_to_the_first_map():
    one, other = (random_attributions(conv_problem(), seed=seed).values for seed in (1, 2))
    found = InputInvariance()(conv_problem(), Attributions(one, again=lambda _: Attributions(other)), RNG).values["value"]
    for b, t in itertools.product(range(4), range(2)):
        first, second = one[b, t].flatten().tolist(), other[b, t].flatten().tolist()
        assert found[b, t].item() == pytest.approx(math.dist(first, second) / math.hypot(*first), rel=1e-5)
        assert found[b, t].item() != pytest.approx(math.dist(first, second) / math.hypot(*second), rel=1e-4)


def test_nothing_is_relative_to_a_map_of_zeros():
    problem, values = conv_problem(), random_attributions(conv_problem()).values
    zeros = Attributions(torch.zeros_like(values), again=lambda _: Attributions(values))
    assert InputInvariance()(problem, zeros, RNG).values["value"].isnan().all()
    for metric in (DummyError(), SymmetryError()):
        silent = Attributions(values, again=lambda _: Attributions(torch.zeros_like(values)))
        assert metric(problem, silent, RNG).values["value"].isnan().all()


def test_methods_that_keep_the_axiom_see_no_dummy():
    problem = padded_problem()
    for explainer in (Gradient(), IntegratedGradients(steps=3), DeepLift()):
        assert (score(DummyError(), explainer, problem) == 0).all()
    assert score(DummyError(), GradCam(), problem).nanmean() > 0.01


def test_dummy_error_is_the_share_of_the_lower_right_quarter():
    for height, width in ((6, 6), (7, 8)):
        values = torch.randn(2, 2, 3, height, width, generator=torch.Generator().manual_seed(0))
        problem = replace(conv_problem(batch=2), images=torch.rand(2, 3, height, width))
        found = DummyError()(problem, Attributions(values, again=lambda _, values=values: Attributions(values)), RNG).values["value"]
        for b, t in itertools.product(range(2), range(2)):
            cells = [(i, j, abs(values[b, t, c, i, j].item())) for c in range(3) for i in range(height) for j in range(width)]
            inside = sum(size for i, j, size in cells if i >= height // 2 and j >= width // 2)
            assert found[b, t].item() == pytest.approx(inside / sum(size for *_, size in cells), rel=1e-5)


def test_the_dummy_pixels_do_not_change_the_altered_classifier():
    altered = DummyError().altered(padded_problem())
    other = altered.images.clone()
    other[:, :, 4:, 4:] = torch.rand(3, 3, 4, 4)
    with torch.inference_mode():
        assert torch.equal(altered.model(other), altered.model(altered.images))
        other[:, :, 3, 3] += 0.5
        assert not torch.allclose(altered.model(other), altered.model(altered.images), atol=1e-3)


def test_mirrored_pixels_are_exchangeable_in_the_altered_problem():
    altered = SymmetryError().altered(padded_problem())
    swapped = torch.rand(3, 3, 8, 8)
    exchanged = swapped.clone()
    exchanged[:, 1, 2, 1], exchanged[:, 1, 2, 6] = swapped[:, 1, 2, 6], swapped[:, 1, 2, 1]
    with torch.inference_mode():
        assert torch.allclose(altered.model(swapped), altered.model(exchanged), atol=1e-6)
    for images in (altered.images, altered.background):
        assert torch.equal(images, images.flip(3))
        assert not torch.allclose(images, images.flip(2), atol=1e-2)


def test_methods_that_keep_the_axiom_are_symmetric():
    problem = padded_problem()
    keeping = (Gradient(), IntegratedGradients(steps=3), ExpectedGradients(samples=4), Smoothgrad(samples=2))
    for explainer in keeping:
        assert (score(SymmetryError(), explainer, problem) < 1e-5).all()
    assert score(SymmetryError(), GradCam(), problem).nanmean() > 0.01


def test_symmetry_error_is_the_difference_between_mirrored_pixels():
    values = torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    problem = replace(conv_problem(batch=2), images=torch.rand(2, 3, 4, 5))
    found = SymmetryError()(problem, Attributions(values, again=lambda _: Attributions(values)), RNG).values["value"]
    for b, t in itertools.product(range(2), range(2)):
        rows = [row for channel in values[b, t].tolist() for row in channel]
        apart = sum(abs(row[j] - row[4 - j]) for row in rows for j in range(5))
        assert found[b, t].item() == pytest.approx(apart / (2 * sum(abs(value) for row in rows for value in row)), rel=1e-5)
        assert 0 < found[b, t] < 1


def test_maps_that_ignore_the_classifier_have_the_values_of_chance():
    problem = replace(conv_problem(), images=torch.rand(4, 3, 40, 40))
    given = {metric: Random()(problem, RNG) for metric in ALTERED}
    found = {type(m): m(problem, replace(e, again=lambda p: Random()(p, RNG)), RNG).values["value"] for m, e in given.items()}
    assert (found[InputInvariance] == 0).all()  # the same draws
    assert torch.allclose(found[DummyError], torch.tensor(0.25), atol=0.05)
    noise = replace(problem, targets=problem.targets[:, :1])
    normal = torch.randn(4, 1, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    mirrored = SymmetryError()(noise, Attributions(normal, again=lambda _: Attributions(normal)), RNG).values["value"]
    assert torch.allclose(mirrored, torch.tensor(0.5**0.5), atol=0.05)


@pytest.mark.parametrize(
    ("metric", "module", "fault"),
    [
        (DummyError(), dummy_error, lambda problem, _: problem),  # the unaltered classifier
        (SymmetryError(), symmetry_error, lambda problem, _: problem),
    ],
)
def test_the_axioms_reject_the_unaltered_classifier(metric, module, fault, monkeypatch):
    monkeypatch.setattr(module.reexplanation, "with_model", fault)
    assert (score(metric, Gradient(), padded_problem()) > 0.05).all()


def test_a_name_is_found_once_in_a_preceded_classifier():
    problem = padded_problem()
    altered = altered_network.Preceded(nn.Identity(), problem.model)
    names = dict(altered.named_modules())
    assert {name for name, _ in problem.model.named_modules()} <= set(names)
    assert len(names) == len(dict(problem.model.named_modules())) + 1
    assert not altered.training
    assert torch.equal(altered(problem.images), problem.model(problem.images))
