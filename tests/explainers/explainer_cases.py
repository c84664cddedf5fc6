"""Small problems with known answers, shared by the tests of explainers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng

Explain = Callable[[Problem, Rng], Attributions]
RNG = Rng(seed=0, draw=0, component="test")


def frozen(model: nn.Module) -> nn.Module:
    return model.eval().requires_grad_(False)


def make_problem(model: nn.Module | None, images: Tensor, targets: Tensor, background: Tensor | None = None, chunk: int = 256) -> Problem:
    batch = len(images)
    background = torch.zeros(1, *images.shape[1:]) if background is None else background
    return Problem(model, images, targets, torch.zeros(batch, dtype=torch.int64), torch.arange(batch) * 7 + 3, background, chunk=chunk)


def all_classes(batch: int, classes: int) -> Tensor:
    return torch.arange(classes).expand(batch, -1).contiguous()


class Square(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images * images


class Block(nn.Module):
    """A residual block of a class of its own, not one of torch's containers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1)
        self.normalization = nn.BatchNorm2d(width)
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return images + self.activation(self.normalization(self.convolution(images)))


def linear_problem(shape: tuple[int, int, int] = (1, 3, 3), classes: int = 3, batch: int = 4) -> tuple[Problem, Tensor]:
    """A linear classifier with bias, all classes as targets; and its weights (K, C, H, W)."""
    torch.manual_seed(0)
    size = shape[0] * shape[1] * shape[2]
    model = frozen(nn.Sequential(nn.Flatten(), nn.Linear(size, classes)))
    problem = make_problem(model, 0.1 + 0.9 * torch.rand(batch, *shape), all_classes(batch, classes))
    return problem, model[1].weight.detach().reshape(classes, *shape)


def quadratic_problem() -> tuple[Problem, Tensor]:
    """Logits that are weighted sums of the squared pixels, all classes as targets; and the weights (K, C, H, W)."""
    problem, weights = linear_problem((2, 3, 4))
    return dataclasses.replace(problem, model=frozen(nn.Sequential(Square(), problem.classifier))), weights


def conv_problem(shape: tuple[int, int, int] = (3, 9, 11), classes: int = 4, batch: int = 5, targets: int = 3) -> Problem:
    """A convolutional network with max-pooling, batch normalization and a residual block."""
    torch.manual_seed(1)
    height, width = shape[1] // 2, shape[2] // 2
    model = nn.Sequential(
        *(nn.Conv2d(shape[0], 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), Block(4), nn.Flatten()),
        *(nn.Linear(4 * height * width, 8), nn.ReLU(), nn.Linear(8, classes)),
    )
    chosen = torch.stack([torch.randperm(classes)[:targets] for _ in range(batch)])
    images, background = torch.rand(batch, *shape), torch.rand(3, *shape)
    images[0, :, :3] = 0.0
    return make_problem(frozen(model), images, chosen, background)


def negated(explain: Explain) -> Explain:
    def mutant(problem: Problem, rng: Rng) -> Attributions:
        found = explain(problem, rng)
        return dataclasses.replace(found, values=-found.values)

    return mutant


def next_target(explain: Explain) -> Explain:
    """Explains the class after the one that was asked for."""

    def mutant(problem: Problem, rng: Rng) -> Attributions:
        return explain(dataclasses.replace(problem, targets=problem.targets.roll(1, dims=1)), rng)

    return mutant


def scaled(explain: Explain, factor: float = 1.05) -> Explain:
    def mutant(problem: Problem, rng: Rng) -> Attributions:
        found = explain(problem, rng)
        return dataclasses.replace(found, values=found.values * factor)

    return mutant


def rejects(check, explain: Explain) -> None:
    with pytest.raises(AssertionError):
        check(explain)
