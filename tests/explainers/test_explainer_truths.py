"""Explainers against closed forms and brute force; every check must reject mutants of the explainer that passes it."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import torch
from explainer_cases import (
    RNG,
    Explain,
    all_classes,
    conv_problem,
    frozen,
    linear_problem,
    make_problem,
    negated,
    next_target,
    quadratic_problem,
    rejects,
    scaled,
)
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench.baselines import Constant
from xaibench.explainers.deep_shap import DeepShap
from xaibench.explainers.expected_gradients import ExpectedGradients
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.kernel_shap import KernelShap
from xaibench.explainers.occlusion import Occlusion
from xaibench.explainers.random import Random
from xaibench.explainers.raw_input import RawInput
from xaibench.explainers.saliency import Saliency
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.explainers.sobel import Sobel
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng
from xaibench.superpixels import Pixels

# shap's plots, imported with it, call functions that matplotlib 3.11 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:The set_(bad|over|under) function:PendingDeprecationWarning")


def check_weights(explain: Explain) -> None:
    problem, weights = linear_problem((2, 3, 4))
    assert_close(explain(problem, RNG).values, weights.expand(4, -1, -1, -1, -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("explainer", [Gradient(), Smoothgrad(samples=7)])
def test_gradient_of_a_linear_classifier_is_its_weights(explainer):
    check_weights(explainer)
    for mutant in (negated(explainer), next_target(explainer), scaled(explainer), InputXGradient()):
        rejects(check_weights, mutant)


def check_absolute_weights(explain: Explain) -> None:
    problem, weights = linear_problem((2, 3, 4))
    assert_close(explain(problem, RNG).values, weights.abs().expand(4, -1, -1, -1, -1), rtol=1e-5, atol=1e-6)


def test_saliency_of_a_linear_classifier_is_its_absolute_weights():
    check_absolute_weights(Saliency())
    for mutant in (negated(Saliency()), next_target(Saliency()), Gradient()):
        rejects(check_absolute_weights, mutant)


def check_products(explain: Explain) -> None:
    problem, weights = linear_problem()
    assert_close(explain(problem, RNG).values, problem.images[:, None] * weights, rtol=1e-4, atol=1e-6)


PRODUCTS = [
    InputXGradient(),
    IntegratedGradients(steps=3),
    IntegratedGradients(steps=3, quadrature="midpoint"),
    ExpectedGradients(samples=3),
    Occlusion(patch=1, stride=1),
    KernelShap(superpixels=Pixels()),
    KernelShap(superpixels=Pixels(), samples=200),
    DeepShap(),
]


@pytest.mark.parametrize("explainer", PRODUCTS, ids=repr)
def test_all_agree_on_a_linear_classifier_with_a_zero_baseline(explainer):
    check_products(explainer)
    for mutant in (negated(explainer), next_target(explainer), scaled(explainer), Gradient()):
        rejects(check_products, mutant)


def check_quadratic_integral(explain: Explain) -> None:
    problem, weights = quadratic_problem()
    found = explain(problem, RNG)
    expected = weights * (problem.images[:, None] ** 2 - 0.25**2)
    assert_close(found.values, expected, rtol=1e-4, atol=1e-5)
    assert_close(found.total, expected.sum((2, 3, 4)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("quadrature", ["midpoint", "gauss_legendre"])
def test_integrated_gradients_of_a_quadratic_classifier(quadrature):
    def without_difference(problem: Problem, rng: Rng) -> Attributions:
        found = explainer(problem, rng)
        return dataclasses.replace(found, values=found.values / (problem.images[:, None] - 0.25))

    explainer = IntegratedGradients(steps=5, baseline=Constant(0.25), quadrature=quadrature)
    check_quadratic_integral(explainer)
    for mutant in (without_difference, next_target(explainer), negated(explainer), IntegratedGradients(steps=5)):
        rejects(check_quadratic_integral, mutant)


def check_integral_of_a_fourth_power(explain: Explain) -> None:
    problem, weights = quadratic_problem()
    problem = dataclasses.replace(problem, model=frozen(nn.Sequential(problem.classifier[0], *problem.classifier)))
    assert_close(explain(problem, RNG).values, weights * problem.images[:, None] ** 4, rtol=1e-4, atol=1e-6)


def test_two_gauss_legendre_points_integrate_a_cubic_gradient_exactly():
    check_integral_of_a_fourth_power(IntegratedGradients(steps=2))
    rejects(check_integral_of_a_fourth_power, IntegratedGradients(steps=2, quadrature="midpoint"))


def check_complete(explain: Explain, tolerance: float, reference: Tensor) -> None:
    problem = conv_problem()
    found = explain(problem, RNG)
    assert found.total is not None
    with torch.no_grad():
        difference = problem.classifier(problem.images) - problem.classifier(reference).mean(0)
    assert_close(found.total, difference.gather(1, problem.targets), rtol=1e-5, atol=1e-6)
    assert (found.values.sum((2, 3, 4)) - found.total).abs().max() < tolerance


def with_total(explain: Explain, other: Explain) -> Explain:
    """The values of `other` under the total of `explain`."""
    return lambda problem, rng: Attributions(other(problem, rng).values, explain(problem, rng).total)


COMPLETE = {
    "zeros": [(IntegratedGradients(steps=100), 2e-3), (IntegratedGradients(steps=100, quadrature="midpoint"), 2e-3), (KernelShap(), 1e-5)],
    "background": [(DeepShap(), 1e-5), (ExpectedGradients(samples=300), 5e-2)],
}


@pytest.mark.parametrize(
    ("explainer", "tolerance", "reference"), [(*case, name) for name, cases in COMPLETE.items() for case in cases], ids=repr
)
def test_completeness_on_a_convolutional_network(explainer, tolerance, reference):
    images = conv_problem().background if reference == "background" else torch.zeros(1, 3, 9, 11)
    check_complete(explainer, tolerance, images)
    other = DeepShap() if reference == "zeros" else IntegratedGradients()
    for mutant in (with_total(explainer, InputXGradient()), other, negated(explainer)):
        with pytest.raises(AssertionError):
            check_complete(mutant, tolerance, images)


def check_mean_of_noisy_gradients(explain: Explain) -> None:
    problem, weights = quadratic_problem()
    images = problem.images
    deviation = 0.2 * (images.flatten(1).amax(1) - images.flatten(1).amin(1))
    noise = torch.stack([RNG.each(problem.index, sample).normal(*images.shape[1:]) for sample in range(6)]).mean(0)
    noisy = images + deviation[:, None, None, None] * noise
    assert_close(explain(problem, RNG).values, 2 * weights * noisy[:, None], rtol=1e-4, atol=1e-5)


def test_smoothgrad_is_the_mean_gradient_of_its_noisy_copies():
    explainer = Smoothgrad(samples=6, noise=0.2)
    check_mean_of_noisy_gradients(explainer)
    for mutant in (Smoothgrad(samples=6, noise=0.21), Smoothgrad(samples=7, noise=0.2), next_target(explainer), Gradient()):
        rejects(check_mean_of_noisy_gradients, mutant)


def test_grad_cam_by_hand():
    torch.manual_seed(5)
    convolution, linear = nn.Conv2d(2, 5, 2, stride=2), nn.Linear(5, 3)
    model = frozen(nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear))
    problem = make_problem(model, torch.rand(4, 2, 4, 4), all_classes(4, 3))
    maps = convolution(problem.images)
    share_active = (maps > 0).float().mean((2, 3))
    # Mean pooling over 4 positions passes W / 4 to each active position, and the weight is its mean over positions.
    weights = linear.weight / 4 * share_active[:, None]
    coarse = torch.einsum("btk,bkhw->bthw", weights, maps).relu()
    up = torch.tensor([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    expected = (up @ coarse @ up.T)[:, :, None]

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-7)

    before = GradCam(layer="0")
    check(before)
    for mutant in (negated(before), next_target(before), scaled(before), GradCam()):
        rejects(check, mutant)
    # Behind ReLU, where it is taken by default, each position has the gradient W / 4.
    coarse = torch.einsum("tk,bkhw->bthw", linear.weight / 4, maps.relu()).relu()
    expected = (up @ coarse @ up.T)[:, :, None]
    check(GradCam())
    check(GradCam(layer="1"))
    for mutant in (negated(GradCam()), next_target(GradCam()), scaled(GradCam()), before):
        rejects(check, mutant)


def test_grad_cam_before_an_in_place_activation():
    problem = conv_problem(targets=2)
    plain = GradCam(layer="0")(problem, RNG).values
    problem.classifier[1].inplace = True
    assert_close(GradCam(layer="0")(problem, RNG).values, plain)


@pytest.mark.parametrize(
    ("model", "layer", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(18, 3)), None, "no 2D convolution"),
        (nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4, 3)), None, "1 x 1"),
        (nn.Sequential(nn.Conv2d(2, 4, 2), nn.Flatten(), nn.Linear(16, 3)), "9", "no layer '9'"),
        (nn.Sequential(nn.Conv2d(2, 4, 2), nn.Flatten(), nn.Linear(16, 3)), "2", "no feature maps"),
        (nn.Sequential(nn.Conv2d(2, 4, 2), nn.Flatten(), nn.Linear(16, 3)), None, None),
    ],
)
def test_grad_cam_says_what_it_cannot_explain(model, layer, reason):
    problem = make_problem(frozen(model), torch.zeros(1, 2, 3, 3), all_classes(1, 3))
    found = GradCam(layer=layer).unsupported(problem)
    assert (found is None) if reason is None else (found is not None and reason in found)


def check_edges(explain: Explain) -> None:
    problem = conv_problem()
    channels = problem.images.flatten(0, 1).double().numpy()
    edges = [np.hypot(*(scipy.ndimage.sobel(channel, axis=axis, mode="nearest") for axis in (0, 1))) for channel in channels]
    expected = torch.from_numpy(np.stack(edges)).float().reshape(5, 1, 3, 9, 11).expand(-1, 3, -1, -1, -1)
    assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-5)


def test_sobel_is_the_magnitude_of_scipys():
    check_edges(Sobel())
    for mutant in (scaled(Sobel()), negated(Sobel()), RawInput()):
        rejects(check_edges, mutant)


def test_raw_input_is_the_image():
    problem = conv_problem()
    assert torch.equal(RawInput()(problem, RNG).values, problem.images[:, None].expand(-1, 3, -1, -1, -1))


def check_uniform(explain: Explain) -> None:
    values = explain(make_problem(None, torch.zeros(20, 1, 30, 30), all_classes(20, 5)), RNG).values
    assert values.shape == (20, 5, 1, 30, 30)
    levels = values.flatten().sort().values
    assert (levels - torch.linspace(0, 1, len(levels))).abs().max() < 0.01
    correlation = np.corrcoef(values.flatten(0, 1).flatten(1).numpy())
    assert np.abs(correlation - np.eye(100)).max() < 0.2


def test_random_is_uniform_and_independent_over_images_and_targets():
    def same_for_all_targets(problem: Problem, rng: Rng) -> Attributions:
        return Attributions(Random()(problem, rng).values[:, :1].expand(-1, 5, -1, -1, -1))

    check_uniform(Random())
    for mutant in (scaled(Random()), same_for_all_targets):
        rejects(check_uniform, mutant)


@pytest.mark.parametrize("output", ["logit", "probability", "log_probability"])
def test_the_explained_output_is_what_is_differentiated(output):
    problem, _ = linear_problem()
    images = problem.images.clone().requires_grad_(True)
    logits = problem.classifier(images)
    explained = {"logit": logits, "probability": logits.softmax(1), "log_probability": logits.log_softmax(1)}[output]
    expected = torch.stack([torch.autograd.grad(explained[:, k].sum(), images, retain_graph=True)[0] for k in range(3)], 1)
    for explainer in (Gradient(output=output), Smoothgrad(output=output, samples=1, noise=1e-6)):
        assert_close(explainer(problem, RNG).values, expected, rtol=1e-3, atol=1e-5)
    others = [name for name in ("logit", "probability", "log_probability") if name != output]
    assert all(not torch.allclose(Gradient(output=name)(problem, RNG).values, expected, atol=1e-3) for name in others)


@pytest.mark.parametrize("explainer", [ExpectedGradients(samples=300), DeepShap(), KernelShap(), IntegratedGradients()], ids=repr)
def test_probabilities_add_up_too(explainer):
    problem = conv_problem()
    found = dataclasses.replace(explainer, output="probability")(problem, RNG)
    with torch.no_grad():
        reference = problem.background if isinstance(explainer, ExpectedGradients | DeepShap) else torch.zeros(1, 3, 9, 11)
        difference = problem.classifier(problem.images).softmax(1) - problem.classifier(reference).softmax(1).mean(0)
    assert_close(found.total, difference.gather(1, problem.targets), rtol=1e-5, atol=1e-6)
    assert (found.values.sum((2, 3, 4)) - found.total).abs().max() < 0.1 * found.total.abs().max()
