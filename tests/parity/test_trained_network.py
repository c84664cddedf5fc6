"""captum, shap and ours on a trained network, real test images and all classes; where they differ, the definition says who is right."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench.adapters import captum
from xaibench.adapters import shap as shap_adapter
from xaibench.baselines import BackgroundMean, Constant
from xaibench.explainers.deconvolution import Deconvolution
from xaibench.explainers.deep_lift import DeepLift
from xaibench.explainers.deep_shap import DeepShap
from xaibench.explainers.exact_shapley import ExactShapley
from xaibench.explainers.expected_gradients import ExpectedGradients
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.guided_backpropagation import GuidedBackpropagation
from xaibench.explainers.guided_grad_cam import GuidedGradCam
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.kernel_shap import KernelShap
from xaibench.explainers.lime import Lime
from xaibench.explainers.lrp_epsilon_plus import LrpEpsilonPlus
from xaibench.explainers.lrp_gamma import LrpGamma
from xaibench.explainers.occlusion import Occlusion
from xaibench.explainers.owen_shapley import OwenShapley
from xaibench.explainers.permutation_shapley import PermutationShapley
from xaibench.explainers.saliency import Saliency
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.explainers.smoothgrad_squared import SmoothgradSquared
from xaibench.explainers.superpixel_ablation import SuperpixelAblation
from xaibench.explainers.vargrad import Vargrad
from xaibench.peers import PEERS
from xaibench.problem import Explainer, Problem
from xaibench.removal import Marginal, TrainingMean
from xaibench.seeding import Rng
from xaibench.superpixels import Squares

RNG = Rng(0, 0, "parity")


def close(found: Tensor, expected: Tensor, tolerance: float = 5e-6) -> None:
    """Relative to the largest value of each map: float32 rounds sums of many terms."""
    scale = expected.abs().amax((2, 3, 4), keepdim=True)
    scale = torch.where(scale > 0, scale, 1.0)
    assert_close(found / scale, expected.expand(found.shape) / scale, rtol=0, atol=tolerance)


def peer(explainer: Explainer, library: str, problem: Problem, seed: int = 0) -> Tensor:
    (found,) = [one for one in PEERS[type(explainer).__name__] if one.name.startswith(library)]
    assert found.unsupported(explainer, problem) is None
    return found.call(explainer, problem, seed)


def without_biases(problem: Problem) -> Problem:
    model = copy.deepcopy(problem.classifier)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.bias.zero_()
    return dataclasses.replace(problem, model=model)


def with_average_pooling(problem: Problem) -> Problem:
    model = copy.deepcopy(problem.classifier)
    for name, module in model.named_children():
        if isinstance(module, nn.MaxPool2d):
            setattr(model, name, nn.AvgPool2d(module.kernel_size))
    return dataclasses.replace(problem, model=model)


def test_the_network_has_learned_its_data(network, arrays):
    with torch.no_grad():
        found = network(arrays.test.images).argmax(1)
    assert (found == arrays.test.labels).float().mean() > 0.8


AGREE = [
    (Gradient(), "captum"),
    (Gradient(output="log_probability"), "captum"),
    (Saliency(), "captum"),
    (Saliency(output="probability"), "captum"),
    (InputXGradient(), "captum"),
    (IntegratedGradients(), "captum"),
    (IntegratedGradients(steps=20, baseline=Constant(0.3), quadrature="midpoint"), "captum"),
    (IntegratedGradients(steps=20, baseline=BackgroundMean(), output="probability"), "captum"),
    (GuidedBackpropagation(), "captum"),
    (Deconvolution(), "captum"),
    (GradCam(), "captum"),
    (GradCam(layer="0"), "captum"),
    (GuidedGradCam(), "captum"),
    (Occlusion(), "captum"),
    (Occlusion(patch=7, stride=7, removal=TrainingMean()), "captum"),
    (SuperpixelAblation(), "captum"),
    (SuperpixelAblation(superpixels=Squares(5), removal=TrainingMean(), output="probability"), "captum"),
    (DeepShap(), "shap"),
    (ExactShapley(superpixels=Squares(3)), "shap"),
    (ExactShapley(superpixels=Squares(3), removal=Marginal(samples=3), output="probability"), "shap"),
    (OwenShapley(depth=4), "shap"),
    (OwenShapley(depth=3, removal=TrainingMean()), "shap"),
    (KernelShap(superpixels=Squares(3)), "shap KernelExplainer"),  # 2^9 coalitions, all of them: no estimate
]


@pytest.mark.parametrize(("explainer", "library"), AGREE, ids=repr)
def test_deterministic_methods_agree(explainer, library, trained):
    found = explainer(trained, RNG).values
    expected = peer(explainer, library, trained)
    close(found, expected)
    with pytest.raises(AssertionError):
        close(found, expected.roll(1, dims=1))  # another class's


def test_deep_lift_is_shaps_with_the_baseline_as_the_background(trained):
    alone = dataclasses.replace(trained, background=torch.full_like(trained.background[:1], 0.2))
    close(DeepLift(baseline=0.2)(trained, RNG).values, shap_adapter.deep_explainer(alone, "logit"))


def gaps(values: Tensor, problem: Problem, baseline: Tensor) -> Tensor:
    """(B, T): how far the values are from summing to the change of the logit."""
    with torch.no_grad():
        change = problem.classifier(problem.images) - problem.classifier(baseline).mean(0)
    return (values.sum((2, 3, 4)) - change.gather(1, problem.targets)).abs()


@pytest.mark.parametrize(("explainer", "reference"), [(DeepLift(), "zeros"), (DeepShap(), "background")])
def test_captums_deep_lift_is_incomplete_with_max_pooling_and_ours_is_not(explainer, reference, trained):
    """The rescale rule's defining property is that the values sum to the change of the output."""
    baseline = trained.background if reference == "background" else torch.zeros_like(trained.background[:1])
    assert gaps(explainer(trained, RNG).values, trained, baseline).max() < 1e-4
    assert gaps(peer(explainer, "captum", trained), trained, baseline).mean() > 1e-2


@pytest.mark.parametrize("explainer", [DeepLift(), DeepLift(baseline=0.3), DeepShap()], ids=repr)
def test_deep_lift_agrees_with_captum_where_pooling_averages(explainer, trained):
    problem = with_average_pooling(trained)
    close(explainer(problem, RNG).values, peer(explainer, "captum", problem), 2e-5)


def occluded(problem: Problem, patch: int, stride: int) -> Tensor:
    """The definition, window by window: every window whole, the last at the edge; a pixel's drops averaged."""
    size = problem.images.shape[-1]
    starts = sorted({*range(0, size - patch + 1, stride), size - patch})
    drops = torch.zeros(*problem.targets.shape, 1, size, size)
    covered = torch.zeros(size, size)
    with torch.no_grad():
        whole = problem.classifier(problem.images)
        for top in starts:
            for left in starts:
                altered = problem.images.clone()
                altered[:, :, top : top + patch, left : left + patch] = 0
                drop = (whole - problem.classifier(altered)).gather(1, problem.targets)
                drops[..., top : top + patch, left : left + patch] += drop[:, :, None, None, None]
                covered[top : top + patch, left : left + patch] += 1
    return drops / covered


def test_occlusion_where_the_stride_does_not_divide_the_image(trained):
    """captum cuts its last windows off at the edge; ours move back, so that all are of the size that was asked for."""
    explainer = Occlusion(patch=6, stride=5)
    found, theirs = explainer(trained, RNG).values, peer(explainer, "captum", trained)
    close(found, occluded(trained, 6, 5))
    # Of the rows, 22 is the first that only one library's last window covers: 25 to 30 cut off at 28, against 22 to 27.
    close(found[..., :22, :22], theirs[..., :22, :22], 2e-5)
    assert (found - theirs)[..., 22:, :].abs().max() > 0.01 * found.abs().max()


@pytest.mark.parametrize("explainer", [LrpEpsilonPlus(), LrpGamma(), LrpGamma(gamma=2.0)], ids=repr)
def test_lrp_agrees_with_captum_where_there_are_no_biases(explainer, trained):
    problem = without_biases(trained)
    close(explainer(problem, RNG).values, peer(explainer, "captum", problem), 2e-5)


def test_captums_lrp_by_default_is_input_times_gradient(trained):
    theirs = captum.lrp(trained)
    close(theirs, InputXGradient()(trained, RNG).values, 2e-5)
    assert (theirs - LrpEpsilonPlus()(trained, RNG).values).abs().max() > 0.1 * theirs.abs().max()


@pytest.mark.parametrize(
    ("explainer", "combine"),
    [
        (Smoothgrad(samples=9), lambda maps: maps.mean(0)),
        (SmoothgradSquared(samples=9), lambda maps: maps.square().mean(0)),
        (Vargrad(samples=9), lambda maps: maps.var(0, unbiased=False)),
    ],
    ids=["smoothgrad", "smoothgrad_squared", "vargrad"],
)
def test_noise_around_the_gradient_with_the_same_draws(explainer, combine, trained):
    maps = []
    for sample in range(9):
        normal = RNG.each(trained.index, sample).normal(1, 28, 28)
        noise = 0.15 * (trained.images.amax((1, 2, 3)) - trained.images.amin((1, 2, 3)))[:, None, None, None] * normal
        maps.append(captum.saliency(dataclasses.replace(trained, images=trained.images + noise), "logit", absolute=False))
    close(explainer(trained, RNG).values, combine(torch.stack(maps)))


STOCHASTIC = [
    (Smoothgrad(samples=20), "captum"),
    (SmoothgradSquared(samples=20), "captum"),
    (Vargrad(samples=20), "captum"),
    (ExpectedGradients(samples=20), "captum"),
    (ExpectedGradients(samples=20), "shap"),
    (PermutationShapley(samples=200, superpixels=Squares(6)), "shap PermutationExplainer"),
    (PermutationShapley(samples=200, superpixels=Squares(6)), "shap SamplingExplainer"),
    (PermutationShapley(samples=200, superpixels=Squares(6)), "captum"),
    (Lime(samples=100, superpixels=Squares(4)), "captum"),
]
REPEATS = 12


def squared_scores(ours: Tensor, theirs: Tensor) -> float:
    """The mean squared difference of two libraries' means over repeats (R, ...), in standard errors: about 1 if they estimate the same."""
    error = (ours.var(0) + theirs.var(0)) / len(ours)
    drawn = error.sqrt() > 1e-5 * ours.abs().max()  # where it is less, there is only rounding
    return float(((ours.mean(0) - theirs.mean(0)).square()[drawn] / error[drawn]).mean())


@pytest.mark.parametrize(("explainer", "library"), STOCHASTIC, ids=repr)
def test_stochastic_methods_agree_within_their_errors(explainer, library, trained):
    problem = dataclasses.replace(trained, targets=trained.targets[:, :2])
    ours = torch.stack([explainer(problem, Rng(0, draw, "parity")).values for draw in range(REPEATS)])
    theirs = torch.stack([peer(explainer, library, problem, 1000 * seed) for seed in range(REPEATS)])
    assert 0.7 < squared_scores(ours, theirs) < 1.5
    assert squared_scores(1.2 * ours, theirs) > 1.5
