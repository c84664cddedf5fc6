"""Small classifiers of 3 x 64 x 64 images, of the kinds that users bring: each is written as people write it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from xaibench.problem import Problem

SHAPE, CLASSES = (3, 64, 64), 4


def sequence(*layers: nn.Module) -> nn.Sequential:
    """From 4 x 16 x 16 feature maps on, which a first convolution of stride 4 makes; the last layers are dense."""
    body = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), *layers, nn.Flatten())
    with torch.no_grad():
        features = body(torch.zeros(1, *SHAPE)).shape[1]
    return nn.Sequential(*body, nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def normalization(channels: int) -> nn.BatchNorm2d:
    """As after training: its statistics are not 0 and 1."""
    layer = nn.BatchNorm2d(channels)
    for values in (layer.running_mean, layer.weight.data, layer.bias.data):
        values.normal_(mean=0.5, std=0.2)
    layer.running_var.uniform_(0.5, 2.0)
    return layer


def batch_norm() -> nn.Module:
    layers = (normalization(4), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1, bias=False), normalization(6), nn.ReLU(), nn.MaxPool2d(2))
    return sequence(*layers)


def average_pooling() -> nn.Module:
    return sequence(nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))


def gelu() -> nn.Module:
    return sequence(nn.GELU(), nn.Conv2d(4, 6, 3, padding=1), nn.GELU(), nn.MaxPool2d(2))


def strided() -> nn.Module:
    return sequence(nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 6, 2, stride=(2, 1)), nn.ReLU())


def overlapping_pooling() -> nn.Module:
    return sequence(nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2))


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, CLASSES))


class Residual(nn.Module):
    """Two blocks whose sums are computed by a function; the second makes the maps smaller, and its shortcut is a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.same, self.smaller = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1)
        self.shortcut, self.last = nn.Conv2d(4, 6, 1, 2), nn.Linear(6 * 8 * 8, CLASSES)
        self.activations = nn.ModuleList([nn.ReLU() for _ in range(3)])

    def forward(self, images: Tensor) -> Tensor:
        maps = self.activations[0](self.stem(images))
        maps = self.activations[1](self.same(maps) + maps)
        maps = self.activations[2](torch.add(self.smaller(maps), self.shortcut(maps)))
        return self.last(maps.flatten(1))


class Layers(nn.Module):
    """What the networks below have in common. They are one function, and differ in how their activations are written."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.pooling = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 6, 3, padding=1), nn.MaxPool2d(2)
        self.hidden, self.last = nn.Linear(6 * 8 * 8, 8), nn.Linear(8, CLASSES)

    def written(self, images: Tensor, *activations: Callable[[Tensor], Tensor]) -> Tensor:
        maps = activations[1](self.second(activations[0](self.first(images))))
        return self.last(activations[2](self.hidden(self.pooling(maps).flatten(1))))


class Modular(Layers):
    """Every activation is a module of its own: all methods understand it."""

    def __init__(self) -> None:
        super().__init__()
        self.activations = nn.ModuleList([nn.ReLU() for _ in range(3)])

    def forward(self, images: Tensor) -> Tensor:
        return self.written(images, *self.activations)


class Functional(Layers):
    def forward(self, images: Tensor) -> Tensor:
        return self.written(images, functional.relu, torch.relu, lambda maps: maps.relu())


class Shared(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.written(images, *[self.activation] * 3)


class InPlace(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.activations = nn.ModuleList([nn.ReLU(inplace=True) for _ in range(3)])

    def forward(self, images: Tensor) -> Tensor:
        return self.written(images, *self.activations)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": batch_norm,
    "average pooling": average_pooling,
    "gelu": gelu,
    "residual": Residual,
    "strided": strided,
    "dense": dense,
    "overlapping pooling": overlapping_pooling,
    "modular": Modular,
    "functional": Functional,
    "shared": Shared,
    "in place": InPlace,
}
REWRITABLE = ["functional", "shared", "in place"]
"""Those which `xaibench.rewriting.modular` turns into "modular"."""


def build(name: str) -> nn.Module:
    """In eval mode, with random weights that depend on nothing but the network's layers."""
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        return NETWORKS[name]().eval().requires_grad_(False)


def make_problem(name: str, model: nn.Module | None = None) -> Problem:
    """Of two images and two targets each; with another model than the network of this name, if there is one."""
    draw = torch.Generator().manual_seed(6)
    return Problem(
        model=build(name) if model is None else model,
        images=torch.rand(2, *SHAPE, generator=draw),
        targets=torch.tensor([[0, 2], [3, 1]]),
        labels=torch.tensor([0, 1]),
        index=torch.tensor([5, 11]),
        background=torch.rand(2, *SHAPE, generator=draw),
        chunk=64,
    )
