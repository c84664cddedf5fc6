"""The robustness metrics against closed forms on linear classifiers and plain loops over images, classes and copies."""

import dataclasses

import pytest
import torch
from ranking_cases import RNG, conv_problem, linear_problem, make_problem
from reexplanation_cases import copies_of, explanation, loop_input_x_gradient, spied, state, unchanged
from torch import nn

from xaibench import cost
from xaibench.explainers.constant import Constant
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.metrics import reexplanation, relative_stability, robustness
from xaibench.metrics.average_sensitivity import AverageSensitivity
from xaibench.metrics.continuity import Continuity
from xaibench.metrics.local_lipschitz import LocalLipschitz
from xaibench.metrics.max_sensitivity import MaxSensitivity
from xaibench.metrics.relative_input_stability import RelativeInputStability
from xaibench.metrics.relative_output_stability import RelativeOutputStability
from xaibench.metrics.relative_representation_stability import RelativeRepresentationStability
from xaibench.problem import Attributions

BALLS = [MaxSensitivity(), AverageSensitivity(), LocalLipschitz()]
RELATIVE = [RelativeInputStability(), RelativeOutputStability(), RelativeRepresentationStability()]
ALL = [*BALLS, Continuity(), *RELATIVE]


def named(metrics):
    return pytest.mark.parametrize("metric", metrics, ids=lambda metric: type(metric).__name__)


def score(metric, problem, explainer):
    return metric(problem, explanation(problem, explainer), RNG).values["value"]


# --- closed forms


@named([*BALLS, Continuity(), *RELATIVE])
def test_the_gradient_of_a_linear_classifier_does_not_move(metric):
    problem, _ = linear_problem()
    torch.testing.assert_close(score(metric, problem, Gradient()), torch.zeros(4, 2))
    assert (score(metric, problem, InputXGradient()) > 1e-2).all()


def check_equal_weights(metric, expected):
    """Input x gradient is w x: with weights of one magnitude c it moves c times as far as the image, in any direction and any norm."""
    problem, _ = linear_problem(channels=1)
    weight = problem.model[1].weight
    weight.copy_(weight.sign() * 0.3)
    torch.testing.assert_close(score(metric, problem, InputXGradient()), torch.full((4, 2), expected), rtol=1e-5, atol=0)


def test_the_lipschitz_constant_of_weights_of_one_magnitude_is_that_magnitude():
    check_equal_weights(LocalLipschitz(), 0.3)
    for mutant in (MaxSensitivity(normalized=False), MaxSensitivity(), Continuity()):
        with pytest.raises(AssertionError):
            check_equal_weights(mutant, 0.3)


def test_the_relative_input_stability_of_a_linear_classifier_is_one():
    """(w x - w x') / (w x) = (x - x') / x."""
    check_equal_weights(RelativeInputStability(), 1.0)
    for mutant in (RelativeOutputStability(), RelativeInputStability(eps=10.0)):
        with pytest.raises(AssertionError):
            check_equal_weights(mutant, 1.0)


def test_on_a_linear_classifier_the_representation_is_the_image():
    problem, _ = linear_problem()
    first, second = (score(metric, problem, InputXGradient()) for metric in (RelativeInputStability(), RelativeRepresentationStability()))
    torch.testing.assert_close(first, second)


def test_sensitivity_is_at_most_what_the_corners_of_the_ball_give():
    """Input x gradient moves by w d: at most radius |w|, and by radius |w| / sqrt(3) in the root mean square of uniform noise."""
    problem, effects = linear_problem()
    weights = (effects / problem.images[:, None]).flatten(2).norm(dim=2)
    largest, mean = (
        score(kind(samples=60, radius=0.2, normalized=False), problem, InputXGradient()) / (0.2 * weights)
        for kind in (MaxSensitivity, AverageSensitivity)
    )
    assert (largest < 1).all()
    assert (largest > mean).all()
    torch.testing.assert_close(mean, torch.full((4, 2), 3**-0.5), rtol=0.05, atol=0)


# --- loops over images, classes and copies


def norm(values, p=2):
    return sum(abs(value) ** p for value in values.flatten().double().tolist()) ** (1 / p)


def fraction(change, of, eps=1e-6):
    return torch.tensor([c / (v if v != 0 else eps) for c, v in zip(change.flatten().tolist(), of.flatten().tolist(), strict=True)])


def relative(e, other):
    return norm(fraction(e - other, e))


def representation(model, image):
    return model[:-1](image[None])


FORMULAS = {  # of (model, image, copy, map, map of the copy)
    MaxSensitivity: lambda model, x, y, e, f: norm(f - e) / norm(e),
    AverageSensitivity: lambda model, x, y, e, f: norm(f - e) / norm(e),
    LocalLipschitz: lambda model, x, y, e, f: norm(f - e) / norm(y - x),
    Continuity: lambda model, x, y, e, f: norm(f - e, 1) / norm(y - x),
    RelativeInputStability: lambda model, x, y, e, f: relative(e, f) / max(norm(fraction(x - y, x)), 1e-6),
    RelativeOutputStability: lambda model, x, y, e, f: relative(e, f) / max(norm(model(x[None]) - model(y[None])), 1e-6),
    RelativeRepresentationStability: lambda model, x, y, e, f: (
        relative(e, f) / max(norm(fraction(representation(model, x) - representation(model, y), representation(model, x))), 1e-6)
    ),
}


def check_loops(metric, definition=None):
    definition = definition or type(metric)
    problem = conv_problem(batch=3, channels=2)
    problem.images[0, :, :2] = 0.0
    given, seen = spied(problem, InputXGradient())
    found, model = metric(problem, given, RNG).values["value"], problem.model
    kept = 0
    for b, image in enumerate(problem.images):
        copies = copies_of(problem, seen, b)
        assert len(copies) == metric.copies
        if definition in map(type, RELATIVE):
            copies = [copy for copy in copies if model(copy[None]).argmax() == model(image[None]).argmax()]
            kept += len(copies)
        for t, target in enumerate(problem.targets[b].tolist()):
            e = loop_input_x_gradient(model, image, target)
            ratios = [FORMULAS[definition](model, image, copy, e, loop_input_x_gradient(model, copy, target)) for copy in copies]
            expected = sum(ratios) / len(ratios) if definition is AverageSensitivity else max(ratios)
            assert found[b, t].item() == pytest.approx(expected, rel=2e-4)
    assert kept == 0 or 3 < kept < 3 * metric.copies  # so that a missing filter is found out


LOOPED = [dataclasses.replace(metric, noise=0.4) if hasattr(metric, "noise") else metric for metric in ALL]


@named(LOOPED)
def test_scores_equal_loops_over_images_classes_and_copies(metric):
    check_loops(metric)


@named(LOOPED)
def test_no_definition_fits_another_metric(metric):
    for definition in FORMULAS:
        if definition is not type(metric):
            with pytest.raises(AssertionError):
                check_loops(metric, definition)


FAULTS = {
    "copies of the wrong image": (
        reexplanation,
        "_pairs",
        lambda rows, samples: (rows.repeat(samples), torch.arange(samples).repeat_interleave(len(rows))),
    ),
    "other norm": (robustness, "norm", lambda values, order=2: values.flatten(3).abs().amax(3).double()),
    "image's map of another target": (
        reexplanation,
        "Copies",
        lambda rows, images, values, original: COPIES(rows, images, values, original.flip(2)),
    ),
    "all equal": (robustness, "norm", lambda values, order=2: torch.ones(values.shape[:3], dtype=torch.float64)),
}
COPIES, USERS = reexplanation.Copies, ["sensitivity", "local_lipschitz", "continuity", "relative_stability", "robustness"]


@named(LOOPED)
@pytest.mark.parametrize("fault", FAULTS)
def test_loops_reject_mutants(metric, fault, monkeypatch):
    module, name, change = FAULTS[fault]
    monkeypatch.setattr(module, name, change)
    for user in USERS if name == "norm" else ():
        monkeypatch.setattr(f"xaibench.metrics.{user}.norm", change)
    with pytest.raises(AssertionError):
        check_loops(metric)


@named([metric for metric in LOOPED if hasattr(metric, "noise")])
def test_loops_reject_copies_of_other_classes(metric, monkeypatch):
    largest = robustness.largest
    monkeypatch.setattr(relative_stability, "largest", lambda ratios, counted: largest(ratios, torch.ones_like(counted)))
    with pytest.raises(AssertionError):
        check_loops(metric)


# --- the copies


@pytest.mark.parametrize("clip", [False, True])
def test_copies_are_uniform_in_the_ball(clip):
    problem = conv_problem(batch=3, channels=3)
    given, seen = spied(problem, Constant())
    MaxSensitivity(samples=200, radius=0.25, clip=clip)(problem, given, RNG)
    noise = torch.stack([torch.stack(copies_of(problem, seen, b)) - problem.images[b] for b in range(3)])
    copied = noise + problem.images[:, None]
    assert noise.abs().max() <= 0.25 + 1e-6
    assert (copied.amin() < 0, copied.amax() > 1) == (not clip, not clip)
    if not clip:
        assert noise.mean().item() == pytest.approx(0, abs=0.005)
        assert noise.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.01)
        flat = noise.flatten(0, 1).flatten(1)
        assert (torch.corrcoef(flat.T) - torch.eye(flat.shape[1])).abs().max() < 0.2
        assert len(flat.unique(dim=0)) == 600


@named(RELATIVE)
def test_noise_has_its_standard_deviation(metric):
    problem = conv_problem(batch=2)
    given, seen = spied(problem, Constant())
    dataclasses.replace(metric, samples=100, noise=0.2)(problem, given, RNG)
    noise = torch.stack([torch.stack(copies_of(problem, seen, b)) - problem.images[b] for b in range(2)])
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)


@pytest.mark.parametrize(("distance", "fill"), [(1, "edge"), (2, "edge"), (1, "zero")])
def test_continuity_takes_every_shift_once(distance, fill):
    problem = conv_problem(batch=2, channels=2)
    given, seen = spied(problem, Constant())
    Continuity(distance=distance, fill=fill)(problem, given, RNG)
    steps = [(dy, dx) for dy in range(-distance, distance + 1) for dx in range(-distance, distance + 1) if (dy, dx) != (0, 0)]
    for b, image in enumerate(problem.images):
        expected = []
        for dy, dx in steps:
            shifted = torch.zeros_like(image)
            for row in range(6):
                for column in range(6):
                    source = (row + dy, column + dx)
                    inside = all(0 <= place < 6 for place in source)
                    clamped = [min(max(place, 0), 5) for place in source]
                    shifted[:, row, column] = image[:, clamped[0], clamped[1]] if inside or fill == "edge" else 0.0
            expected.append(shifted)
        assert torch.equal(torch.stack(copies_of(problem, seen, b)), torch.stack(expected))


def test_a_copy_keeps_its_images_draws():
    """Smoothgrad of input x gradient is w (x + noise) on a linear classifier: with the same noise it moves by little more than w d.

    Little more, as the noise grows with the range of the copy.
    """
    problem, _ = linear_problem(channels=1)
    weight = problem.model[1].weight
    weight.copy_(weight.sign() * 0.3)
    smooth = Smoothgrad(of=InputXGradient(), samples=2, noise=0.3)
    torch.testing.assert_close(score(LocalLipschitz(), problem, smooth), torch.full((4, 2), 0.3), rtol=0.25, atol=0)
    given = explanation(problem, smooth)
    other = dataclasses.replace(given, again=lambda asked: given.again(dataclasses.replace(asked, index=torch.arange(len(asked.index)))))
    assert (LocalLipschitz()(problem, other, RNG).values["value"] > 0.5).all()


# --- what is not defined


@named(ALL)
def test_nan_stays_with_its_map(metric):
    problem = conv_problem()
    clean = explanation(problem, InputXGradient())
    broken = dataclasses.replace(clean, values=clean.values.clone())
    broken.values[2, 1, 0, 3, 3] = torch.nan
    expected, found = (metric(problem, given, RNG).values["value"] for given in (clean, broken))
    assert found.isnan().nonzero().tolist() == [[2, 1]]
    assert torch.equal(found[found.isfinite()], expected[found.isfinite()])


def test_a_map_of_zeros_has_no_normalized_sensitivity():
    problem = conv_problem()
    given = dataclasses.replace(explanation(problem, InputXGradient()), values=torch.zeros(4, 2, 3, 6, 6))
    for kind in (MaxSensitivity, AverageSensitivity):
        assert kind()(problem, given, RNG).values["value"].isnan().all()
        assert (kind(normalized=False)(problem, given, RNG).values["value"] > 0).all()


def test_tiny_maps_have_the_same_normalized_sensitivity():
    problem = conv_problem()
    given = explanation(problem, InputXGradient())
    tiny = Attributions(given.values * 1e-30, None, lambda asked: Attributions(given.again(asked).values * 1e-30))
    torch.testing.assert_close(*(MaxSensitivity()(problem, maps, RNG).values["value"] for maps in (given, tiny)))


def test_an_image_that_no_shift_changes_has_no_continuity():
    problem = conv_problem(batch=2)
    problem.images[1] = 0.5
    assert score(Continuity(), problem, InputXGradient()).isnan().tolist() == [[False, False], [True, True]]
    assert score(Continuity(fill="zero"), problem, InputXGradient()).isfinite().all()


@named(RELATIVE)
def test_no_copy_of_the_predicted_class_gives_nan(metric):
    """A linear classifier that is undecided at the image: its copies have the other class."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    model[1].weight.data = torch.tensor([[0.0] * 4, [1e6] * 4])
    problem = make_problem(model, batch=2, channels=1, size=2, targets=1, classes=2)
    problem.images.zero_()
    kept = dataclasses.replace(metric, samples=1)
    values = torch.stack([score(kept, dataclasses.replace(problem, index=torch.tensor([k, k + 50])), Gradient()) for k in range(20)])
    assert 0 < values.isnan().float().mean() < 1


@named(ALL)
def test_maps_from_outside_cannot_be_explained_again(metric):
    problem = conv_problem()
    with pytest.raises(ValueError, match="came from outside"):
        metric(problem, Attributions(torch.ones(4, 2, 1, 6, 6)), RNG)
    with pytest.raises(ValueError, match=r"\(3, 2, 3, 6, 6\).*\(4, 3, 6, 6\)"):
        metric(problem, dataclasses.replace(explanation(problem, Gradient()), values=torch.ones(3, 2, 3, 6, 6)), RNG)


def test_a_representation_that_is_not_there_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    problem = make_problem(model)
    assert "no linear layer" in RelativeRepresentationStability().unsupported(problem, Gradient())
    assert "no module 'head'" in RelativeRepresentationStability(layer="head").unsupported(problem, Gradient())
    assert RelativeRepresentationStability(layer="0").unsupported(problem, Gradient()) is None
    assert "model" in RelativeRepresentationStability().unsupported(dataclasses.replace(problem, model=None), Gradient())


def test_the_representation_may_be_named():
    problem = conv_problem()
    by_name, by_default, other = (
        score(RelativeRepresentationStability(layer=layer), problem, InputXGradient()) for layer in ("2", "", "0")
    )
    torch.testing.assert_close(by_name, by_default)
    assert not torch.allclose(other, by_default, rtol=0.01)


# --- memory, passes, traces


@named(ALL)
@pytest.mark.parametrize("explainer", [Gradient(), GradCam(), Smoothgrad(samples=3)], ids=lambda explainer: type(explainer).__name__)
@pytest.mark.parametrize("block", [512, 5, 20])
def test_copies_come_in_bounded_groups_with_the_declared_passes(metric, explainer, block, monkeypatch):
    problem = conv_problem(batch=7)
    whole, before = score(metric, problem, explainer), state(problem.model)
    monkeypatch.setattr("xaibench.explaining.BLOCK_IMAGES", block)
    monkeypatch.setattr(reexplanation, "BLOCK_IMAGES", block)
    given, seen = spied(problem, explainer)
    with cost.measure(problem.model) as counted:
        found = metric(problem, given, RNG).values["value"]
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4, equal_nan=True)
    assert counted.passes == metric.passes(problem, explainer)
    assert max(len(asked.images) for asked in seen) <= max(block, metric.copies)
    assert unchanged(before, state(problem.model))
