"""Which layer the class-activation family takes, and what it says where there is none."""

import dataclasses

import pytest
import torch
from explainer_cases import RNG, all_classes, conv_problem, frozen, make_problem
from torch import Tensor, nn

from xaibench.explainers.ablation_cam import AblationCam
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.guided_grad_cam import GuidedGradCam
from xaibench.explainers.score_cam import ScoreCam
from xaibench.models.resnet import Resnet

FAMILY = [GradCam(), ScoreCam(), AblationCam(), GuidedGradCam()]


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


class Swapped(nn.Module):
    """Calls its convolutions in the other order, and one whose result it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.late, self.early, self.unused = (nn.Conv2d(1, 1, 3) for _ in range(3))
        self.head = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.late(self.early(images))
        self.unused(maps)
        return self.head(maps.flatten(1))


def shared_relu() -> nn.Module:
    relu = nn.ReLU()
    return nn.Sequential(nn.Conv2d(1, 2, 3), relu, nn.Conv2d(2, 2, 3), relu, nn.Flatten(), nn.Linear(32, 3))


class Functional(nn.Module):
    """Calls ReLU as a function, after batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.normalization, self.head = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(72, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.normalization(self.convolution(images)).relu().flatten(1))


HEAD = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
LAST = {
    "plain": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), *HEAD, nn.Linear(2, 3)), "2"),
    "1 x 1 maps": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 6), nn.Flatten()), "0"),
    "projection first": (lambda: nn.Sequential(Shortcut(1, 2), Shortcut(2, 2), *HEAD, nn.Linear(2, 3)), "1.activation"),
    "projection last": (lambda: nn.Sequential(Shortcut(1, 2), Shortcut(2, 2, True), *HEAD, nn.Linear(2, 3)), "1.activation"),
    "called in another order": (Swapped, "late"),
    "resnet": (lambda: Resnet(width=2).build((1, 8, 8), 3), "5.activation"),
    "in place": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), *HEAD, nn.Linear(2, 3)), "1"),
    "pooled first": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU(), *HEAD, nn.Linear(2, 3)), "2"),
    "dense activation": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 4), nn.ReLU(), nn.Linear(4, 3)), "0"),
}


@pytest.mark.parametrize("name", LAST)
@pytest.mark.parametrize("trained", [True, False])
def test_the_activation_of_the_deepest_convolution_is_found(name, trained):
    torch.manual_seed(6)
    make, expected = LAST[name]
    problem = make_problem(make().eval().requires_grad_(not trained), torch.zeros(2, 1, 8, 8), all_classes(2, 3))
    assert GradCam().unsupported(problem) is None
    assert GradCam().located(problem).module is problem.classifier.get_submodule(expected)


REFUSED = {
    "no convolution": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), None, "no 2D convolution"),
    "1 x 1": (lambda: nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()), None, "larger than 1 x 1"),
    "named 1 x 1": (lambda: nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()), "0", "layer '0' are 1 x 1"),
    "unknown": (LAST["plain"][0], "9", "no layer '9'; its 2D convolutions are '0', '2'"),
    "flat": (LAST["plain"][0], "5", "layer '5' gives no feature maps"),
    "shared activation": (lambda: shared_relu(), None, "layer '1' is called 2 times: give every use a module of its own"),
    "functional": (Functional, None, "what activates the maps of 'convolution' is no module: give every use"),
    "twice": (lambda: nn.Sequential(*[nn.Conv2d(1, 1, 3)] * 2, nn.Flatten(), nn.Linear(16, 3)), None, "is called 2 times"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("explainer", FAMILY, ids=lambda item: type(item).__name__)
def test_what_cannot_be_explained_comes_with_the_reason(explainer, name):
    make, layer, reason = REFUSED[name]
    problem = make_problem(frozen(make()), torch.zeros(1, 1, 8, 8), all_classes(1, 3))
    explainer = dataclasses.replace(explainer, layer=layer)
    assert reason in explainer.unsupported(problem)
    with pytest.raises(ValueError, match="layer="):
        explainer(problem, RNG)


@pytest.mark.parametrize("explainer", FAMILY, ids=lambda item: type(item).__name__)
def test_no_more_images_than_a_chunk_go_through_the_model_at_once(explainer):
    problem, sizes = dataclasses.replace(conv_problem(), chunk=3), []
    handle = problem.classifier.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    explainer(problem, RNG)
    handle.remove()
    assert max(sizes) == 3
