"""FullGrad: the parts of the output add up, the map is made of them by hand, and networks that they do not explain are refused."""

import dataclasses

import pytest
import torch
from explainer_cases import RNG, Block, Explain, all_classes, conv_problem, frozen, make_problem, next_target, rejects, scaled
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from xaibench.explainers.full_grad import FullGrad, terms
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.models.resnet import Resnet
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


class Normalize(nn.Module):
    """An input normalization, whose bias is no parameter."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.4) / 0.3


class Functional(nn.Module):
    """An activation called as a function, after a layer with a bias."""

    def __init__(self, function) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)
        self.function = function

    def forward(self, maps: Tensor) -> Tensor:
        return self.function(self.layer(maps))


class Offset(nn.Module):
    """A bias outside the modules without children."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.offset = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return self.layer(maps) + self.offset


def lively(model: nn.Module) -> nn.Module:
    """Biases and statistics as after training."""
    for module in model.modules():
        if getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias, std=0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return frozen(model)


def problem_for(*layers: nn.Module, shape: tuple[int, int, int] = (3, 8, 10), stride: int = 1) -> Problem:
    """A convolution, the layers, and a dense head."""
    torch.manual_seed(0)
    front = nn.Sequential(nn.Conv2d(shape[0], 3, 3, stride, padding=1), *layers, nn.Flatten())
    features = front.eval()(torch.zeros(1, *shape)).shape[1]
    model = nn.Sequential(*front, nn.Linear(features, 6), nn.ReLU(), nn.Linear(6, 3))
    return make_problem(lively(model), torch.rand(3, *shape), all_classes(3, 3))


def whole(model: nn.Module, shape: tuple[int, int, int]) -> Problem:
    return make_problem(lively(model), torch.rand(3, *shape), all_classes(3, 3))


RELU = nn.ReLU()
ACCEPTED = {
    "relu": lambda: problem_for(nn.ReLU()),
    "leaky": lambda: problem_for(nn.LeakyReLU(0.2)),
    "prelu": lambda: problem_for(nn.PReLU(3)),
    "in place": lambda: problem_for(nn.ReLU(inplace=True), nn.Conv2d(3, 3, 3), nn.ReLU(inplace=True)),
    "shared": lambda: problem_for(RELU, nn.Conv2d(3, 3, 3), RELU),
    "functional": lambda: problem_for(Functional(functional.relu)),
    "batch norm": lambda: problem_for(nn.BatchNorm2d(3), nn.ReLU()),
    "normalization": lambda: problem_for(Normalize(), nn.ReLU()),
    "residual": lambda: problem_for(Block(3), Block(3)),
    "pooling": lambda: problem_for(nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)),
    "strided": lambda: problem_for(nn.ReLU(), nn.Conv2d(3, 3, 5, 3), shape=(3, 64, 64), stride=2),
    "dropout": lambda: problem_for(nn.Dropout(), nn.Identity(), nn.ReLU()),
    "resnet": lambda: whole(Resnet(width=2).build((3, 16, 16), 3), (3, 16, 16)),
    "study B": lambda: whole(Conv10Conv20Dense50().build((1, 28, 28), 3), (1, 28, 28)),
    "no bias": lambda: whole(nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten(), nn.Linear(72, 3, bias=False)), (1, 8, 8)),
}
REFUSED = {
    "gelu": (lambda: problem_for(nn.GELU()), "GELU '1' does not grow in proportion to its input"),
    "sigmoid": (lambda: problem_for(nn.Sigmoid()), "Sigmoid '1' does not grow"),
    "relu6": (lambda: problem_for(nn.ReLU6()), "ReLU6 '1' does not grow"),
    "layer norm": (lambda: problem_for(nn.GroupNorm(1, 3)), "GroupNorm '1' does not grow"),
    "softmax": (lambda: problem_for(nn.Softmax(1)), "Softmax '1' does not grow"),
    "functional gelu": (lambda: problem_for(Functional(functional.gelu)), "outside the modules without children"),
    "functional tanh": (lambda: problem_for(Functional(torch.tanh)), "outside the modules without children"),
    "offset": (lambda: problem_for(Offset(), nn.ReLU()), "outside the modules without children"),
}


def logits(problem: Problem) -> Tensor:
    with torch.no_grad():
        return problem.classifier(problem.images).gather(1, problem.targets)


def summed(problem: Problem, left_out: int | None = None) -> Tensor:
    """(B, T), the sum of all parts but one."""
    kept = [[part for number, part in enumerate(every) if number != left_out] for every in terms(problem)]
    return torch.stack([torch.stack([part.flatten(1).sum(1) for part in every]).sum(0) for every in kept], dim=1)


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_parts_of_accepted_networks_add_up_to_the_logit_and_none_may_be_left_out(name):
    problem = ACCEPTED[name]()
    assert FullGrad().unsupported(problem) is None
    assert_close(summed(problem), logits(problem), rtol=1e-4, atol=1e-5)
    count = len(next(terms(problem)))
    assert (count > 1) == (name != "no bias")
    for number in range(count if count > 1 else 0):
        with pytest.raises(AssertionError):
            assert_close(summed(problem, number), logits(problem), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_networks_come_with_the_reason_and_do_not_add_up(name):
    """Did the parts add up, the refusal would be needless."""
    make, reason = REFUSED[name]
    problem = make()
    assert reason in FullGrad().unsupported(problem)
    # Brighter images than there are, as ReLU6 is a ReLU for small inputs.
    bright = dataclasses.replace(problem, images=problem.images * 20)
    assert (summed(bright) - logits(bright)).abs().max() > 1e-2


def test_a_network_that_is_refused_untrained_and_on_black_images_too():
    problem = make_problem(
        frozen(nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(72, 3))), torch.zeros(2, 1, 8, 8), all_classes(2, 3)
    )
    assert "GELU" in FullGrad().unsupported(problem)


@pytest.mark.parametrize("output", ["probability", "log_probability"])
def test_only_logits_are_sums(output):
    assert output in FullGrad(output=output).unsupported(conv_problem())


def stretched(part: Tensor) -> Tensor:
    """(H', W') from (c, H', W'), by the definition: absolute values to [0, 1], then summed over channels."""
    size = part.abs()
    return ((size - size.min()) / (size.max() - size.min())).sum(0) if size.max() > size.min() else torch.zeros(part.shape[1:])


def by_hand(problem: Problem) -> Tensor:
    """(B, T, 1, H, W), for convolution - batch norm - ReLU - convolution - flatten - dense, with each layer's bias in closed form."""
    first, norm, _, second, _, dense = problem.classifier
    images = problem.images.clone().requires_grad_(True)
    one = first(images)
    two = norm(one)
    three = second(two.relu())
    explained = dense(three.flatten(1))
    implicit = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
    found = torch.zeros(len(images), 3, 1, *images.shape[2:])
    for target in range(3):
        slopes = torch.autograd.grad(explained[:, target].sum(), [images, one, two, three], retain_graph=True)
        factors = [images.detach(), *(bias[None, :, None, None] for bias in (first.bias, implicit, second.bias))]
        for slope, factor in zip(slopes, factors, strict=True):
            for row, part in enumerate(slope * factor):
                map_ = stretched(part)[None, None]
                found[row, target, 0] += functional.interpolate(map_, images.shape[2:], mode="bilinear", align_corners=False)[0, 0]
    return found


def test_the_map_is_the_sum_of_the_stretched_parts():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3, 2), nn.Flatten(), nn.Linear(18, 3))
    problem = make_problem(lively(model), torch.rand(3, 2, 9, 9), all_classes(3, 3))
    expected = by_hand(problem)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-5)

    def without_biases(problem: Problem, rng: Rng) -> Attributions:
        return Attributions(InputXGradient()(problem, rng).values.abs().sum(2, keepdim=True))

    check(FullGrad())
    check(lambda problem, rng: FullGrad()(dataclasses.replace(problem, chunk=2), rng))
    for mutant in (next_target(FullGrad()), scaled(FullGrad(), 1.01), Gradient(), without_biases):
        rejects(check, mutant)


def test_equal_parts_are_not_stretched():
    """Before global average pooling a layer's bias counts alike at all positions: what differs is rounding."""
    torch.manual_seed(2)
    layers = (nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3))
    problem = whole(nn.Sequential(*layers), (1, 9, 7))
    expected = torch.stack([stretched(image) for image in problem.images])[:, None, None].expand(-1, 3, -1, -1, -1)
    assert_close(FullGrad()(problem, RNG).values, expected, rtol=1e-4, atol=1e-5)
