"""The class-activation family against loops over the formulas, brute force and captum; every check must reject mutants."""

import copy
import dataclasses
import itertools

import pytest
import torch
from explainer_cases import RNG, Explain, all_classes, frozen, make_problem, negated, next_target, rejects, scaled
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from xaibench.explainers.ablation_cam import AblationCam
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.grad_cam_plus_plus import GradCamPlusPlus
from xaibench.explainers.guided_backpropagation import GuidedBackpropagation
from xaibench.explainers.guided_grad_cam import GuidedGradCam
from xaibench.explainers.hires_cam import HiresCam
from xaibench.explainers.layer_cam import LayerCam
from xaibench.explainers.score_cam import ScoreCam
from xaibench.models.resnet import Resnet
from xaibench.problem import Problem

GRADIENT = [GradCam(), GradCamPlusPlus(), HiresCam(), LayerCam()]
FAMILY = [*GRADIENT, ScoreCam(), AblationCam(), GuidedGradCam()]


class Shortcut(nn.Module):
    """A residual block whose projection is registered last, and called last if asked for."""

    def __init__(self, inputs: int, outputs: int, projection_last: bool = False) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())
        self.second = nn.Conv2d(outputs, outputs, 1)
        self.projection = nn.Conv2d(inputs, outputs, 1, 2)
        self.activation = nn.ReLU()
        self.projection_last = projection_last

    def forward(self, images: Tensor) -> Tensor:
        if self.projection_last:
            residual = self.second(self.first(images))
            return self.activation(residual + self.projection(images))
        return self.activation(self.projection(images) + self.second(self.first(images)))


def normalized(width: int) -> nn.Module:
    """Batch normalization with statistics as after training."""
    layer = nn.BatchNorm2d(width)
    for parameter in (layer.running_mean, layer.bias):
        nn.init.normal_(parameter)
    for parameter in (layer.running_var, layer.weight):
        nn.init.uniform_(parameter, 0.5, 1.5)
    return layer


def networks() -> dict[str, tuple[list[nn.Module], list[nn.Module], tuple[int, int, int]]]:
    """The layers up to the last convolution's activation, those after it, and the images' shape."""
    torch.manual_seed(3)
    dense = [nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)]
    wide = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    return {
        "2 x 2 maps": ([nn.Conv2d(1, 3, 2, 2), nn.ReLU()], dense, (1, 4, 4)),
        "batch norm": ([nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), normalized(4), nn.ReLU()], wide, (2, 9, 8)),
        "strided": ([nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2), nn.ReLU()], [nn.MaxPool2d(2), *wide], (3, 64, 64)),
        "residual": ([Shortcut(3, 4), nn.Conv2d(4, 4, 3), nn.GELU()], wide, (3, 16, 12)),
    }


def network_problem(name: str, batch: int = 3) -> Problem:
    front, back, shape = networks()[name]
    return make_problem(frozen(nn.Sequential(*front, *back)), torch.rand(batch, *shape), all_classes(batch, 3))


def formula(name: str, maps: Tensor, gradient: Tensor) -> Tensor:
    """(h, w), by loops over the channels K and positions of (K, h, w)."""
    found = torch.zeros(maps.shape[1:], dtype=maps.dtype)
    places = list(itertools.product(*map(range, maps.shape[1:])))
    for channel, slope in zip(maps, gradient, strict=True):
        weight = 0.0
        if name == "GradCamPlusPlus":
            channel = channel.clamp(min=0)
        for place in places:
            if name == "GradCam":
                weight += slope[place] / len(places)
            elif name == "GradCamPlusPlus" and slope[place] > 0:
                total = sum(channel.flatten().tolist())
                weight += slope[place] ** 2 / (2 * slope[place] ** 2 + total * slope[place] ** 3) * slope[place]
        for place in places:
            factor = {"HiresCam": slope[place], "LayerCam": max(slope[place], torch.tensor(0.0))}.get(name, weight)
            found[place] += factor * channel[place]
    return found if name == "HiresCam" else found.clamp(min=0)


def by_loops(name: str, network: str, problem: Problem) -> Tensor:
    """(B, T, 1, H, W)."""
    split = len(networks()[network][0])
    maps = problem.classifier[:split](problem.images).requires_grad_(True)
    logits = problem.classifier[split:](maps)
    slopes = [torch.autograd.grad(logits[:, target].sum(), maps, retain_graph=True)[0] for target in range(3)]
    rows = [torch.stack([formula(name, maps[row].detach(), slope[row]) for slope in slopes]) for row in range(len(maps))]
    return functional.interpolate(torch.stack(rows), problem.images.shape[2:], mode="bilinear")[:, :, None]


@pytest.mark.parametrize("network", networks())
@pytest.mark.parametrize("explainer", GRADIENT, ids=lambda item: type(item).__name__)
def test_gradient_methods_are_their_formulas(explainer, network):
    problem = network_problem(network)
    expected = by_loops(type(explainer).__name__, network, problem)
    assert expected.abs().max() > 1e-4

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))

    check(explainer)
    others = [other for other in GRADIENT if other != explainer]
    for mutant in (negated(explainer), next_target(explainer), scaled(explainer), *others):
        rejects(check, mutant)


def test_with_global_average_pooling_they_are_the_class_activation_map():
    """Zhou et al. 2016: the dense layer's weights times the maps; by 1 / (h w), what a position contributes to the logit."""
    torch.manual_seed(4)
    convolution, linear = nn.Conv2d(2, 5, 3, padding=1), nn.Linear(5, 3)
    model = frozen(nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear))
    problem = make_problem(model, torch.rand(4, 2, 8, 9), all_classes(4, 3))
    expected = torch.einsum("tk,bkhw->bthw", linear.weight, convolution(problem.images))[:, :, None] / 72

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values.relu(), expected.relu(), rtol=1e-4, atol=1e-7)

    for explainer in (GradCam(), HiresCam()):
        check(explainer)
        for mutant in (negated(explainer), next_target(explainer), scaled(explainer), GradCamPlusPlus(), LayerCam()):
            rejects(check, mutant)
    found = HiresCam()(problem, RNG).values
    assert_close(found, expected, rtol=1e-4, atol=1e-7)
    assert_close(found.sum((2, 3, 4)) + linear.bias, model(problem.images), rtol=1e-4, atol=1e-6)


def masked_by_loops(problem: Problem, split: int, output: str) -> Tensor:
    def score(image: Tensor) -> Tensor:
        logits = problem.classifier(image[None])[0]
        return logits if output == "logit" else logits.softmax(0)

    found = []
    for image, maps in zip(problem.images, problem.classifier[:split](problem.images).clamp(min=0), strict=True):
        rises = []
        for channel in maps:
            mask = functional.interpolate(channel[None, None], image.shape[1:], mode="bilinear")[0, 0]
            span = mask.max() - mask.min()
            mask = (mask - mask.min()) / span if span > 1e-5 else torch.zeros_like(mask)
            rises.append(score(image * mask) - score(torch.zeros_like(image)))
        weights = torch.stack(rises).exp() / torch.stack(rises).exp().sum(0)
        found.append(torch.einsum("kt,khw->thw", weights, maps).clamp(min=0))
    return functional.interpolate(torch.stack(found), problem.images.shape[2:], mode="bilinear")[:, :, None]


@pytest.mark.parametrize("network", networks())
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_score_cam_by_brute_force(network, output):
    problem = network_problem(network)
    split = len(networks()[network][0])
    problem.classifier[split - 2].weight[1] = 0.0  # a constant map
    nn.init.normal_(problem.classifier[-1].weight)
    expected = masked_by_loops(problem, split, output)
    assert expected.max() > 1e-4

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    explainer = ScoreCam(output=output)
    check(explainer)
    check(lambda problem, rng: explainer(dataclasses.replace(problem, chunk=2), rng))
    other = ScoreCam(output="probability" if output == "logit" else "logit")
    for mutant in (other, next_target(explainer), scaled(explainer, 1.01), GradCam(), AblationCam(output=output)):
        rejects(check, mutant)


def ablated_by_loops(problem: Problem, split: int, output: str) -> Tensor:
    """Channel k is switched off in the parameters of the layer before the activation."""

    def score(model: nn.Module) -> Tensor:
        logits = model(problem.images)
        return logits if output == "logit" else logits.softmax(1)

    maps, whole = problem.classifier[:split](problem.images).clamp(min=0), score(problem.classifier)
    found = torch.zeros(len(maps), 3, *maps.shape[2:])
    for channel in range(maps.shape[1]):
        without = copy.deepcopy(problem.classifier)
        without[split - 2].weight[channel] = 0.0
        without[split - 2].bias[channel] = 0.0
        found += ((whole - score(without)) / whole.abs())[:, :, None, None] * maps[:, None, channel]
    return functional.interpolate(found.clamp(min=0), problem.images.shape[2:], mode="bilinear")[:, :, None]


@pytest.mark.parametrize("network", networks())
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_ablation_cam_by_brute_force(network, output):
    problem = network_problem(network)
    expected = ablated_by_loops(problem, len(networks()[network][0]), output)
    assert expected.max() > 1e-4

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))

    explainer = AblationCam(output=output)
    check(explainer)
    check(lambda problem, rng: explainer(dataclasses.replace(problem, chunk=2), rng))
    other = AblationCam(output="probability" if output == "logit" else "logit")
    for mutant in (other, next_target(explainer), scaled(explainer, 1.01), GradCam(), ScoreCam(output=output)):
        rejects(check, mutant)


def test_ablation_cam_of_an_output_of_zero_is_finite_and_of_a_negative_one_not_turned_around():
    problem = network_problem("2 x 2 maps")
    plain = AblationCam()(problem, RNG).values
    problem.classifier[-1].weight.neg_()
    problem.classifier[-1].bias.neg_()
    turned = AblationCam()(problem, RNG).values
    assert not torch.allclose(turned, plain, atol=1e-3)
    problem.classifier[-1].weight.zero_()
    problem.classifier[-1].bias.zero_()
    assert torch.equal(AblationCam()(problem, RNG).values, torch.zeros_like(plain))


class Beside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.name = nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, self.name(maps)], dim=1)


def test_ablation_leaves_what_a_named_layer_only_hands_on_alone():
    torch.manual_seed(5)
    linear = nn.Linear(4, 3)
    model = frozen(nn.Sequential(Beside(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear))
    problem = make_problem(model, torch.rand(2, 2, 8, 8), all_classes(2, 3))
    drops = linear.weight[:, 2:] * problem.images.mean((2, 3))[:, None]
    weights = drops / model(problem.images).abs()[:, :, None]
    expected = torch.einsum("btk,bkhw->bthw", weights, problem.images).clamp(min=0)[:, :, None]
    assert_close(AblationCam(layer="0.name")(problem, RNG).values, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("explainer", FAMILY[:-1], ids=lambda item: type(item).__name__)
def test_an_activation_in_place_changes_nothing(explainer):
    problem = network_problem("strided")
    plain = explainer(problem, RNG).values
    problem.classifier[3].inplace = True
    assert_close(explainer(problem, RNG).values, plain)


@pytest.mark.parametrize("explainer", [HiresCam(), LayerCam(), ScoreCam(), AblationCam()], ids=lambda item: type(item).__name__)
def test_before_and_after_a_relu_are_the_same(explainer):
    problem = network_problem("strided")
    found = explainer(problem, RNG).values
    assert found.abs().max() > 1e-4
    assert_close(dataclasses.replace(explainer, layer="2")(problem, RNG).values, found, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(dataclasses.replace(explainer, layer="1")(problem, RNG).values, found, rtol=1e-2, atol=1e-3)


def test_grad_cam_of_a_residual_network_is_captums():
    from captum.attr import LayerGradCam

    torch.manual_seed(7)
    model = frozen(Resnet(width=4).build((3, 16, 16), 3))
    problem = make_problem(model, torch.rand(2, 3, 16, 16), torch.tensor([[1], [2]]))
    images = problem.images.clone().requires_grad_()
    coarse = LayerGradCam(model, model[5].activation).attribute(images, problem.targets[:, 0], relu_attributions=True)
    expected = functional.interpolate(coarse.detach(), (16, 16), mode="bilinear")
    assert_close(GradCam()(problem, RNG).values[:, 0], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations:UserWarning")
def test_guided_grad_cam_is_captums():
    from captum.attr import GuidedGradCam as Reference

    problem = network_problem("strided")
    reference = Reference(problem.classifier, problem.classifier[3])

    def check(explain: Explain) -> None:
        found = explain(problem, RNG).values
        for target in range(3):
            images = problem.images.clone().requires_grad_()
            expected = reference.attribute(images, target, interpolate_mode="bilinear").detach()
            assert_close(found[:, target], expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))

    check(GuidedGradCam())
    for mutant in (GuidedBackpropagation(), negated(GuidedGradCam()), next_target(GuidedGradCam()), GuidedGradCam(layer="0")):
        rejects(check, mutant)


def test_guided_grad_cam_passes_on_what_guided_backpropagation_refuses():
    problem = network_problem("residual")
    reason = GuidedBackpropagation().unsupported(problem)
    assert reason
    assert GuidedGradCam().unsupported(problem) == reason
