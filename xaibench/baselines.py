"""Baselines: the images from which a path to the explained image starts."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import Component, Fraction, PositiveFloat, PositiveInt
from xaibench.problem import Problem
from xaibench.removal import Blur
from xaibench.seeding import Rng

VERSION = 1


@dataclass(frozen=True)
class Baseline(Component):
    """Gives each image its baselines. Explanations with different baselines answer different questions: they are not comparable.

    Attributes
    ----------
    shared
        Of the class: whether all images have the same baselines.
    """

    shared: ClassVar[bool] = True

    def draws(self, problem: Problem) -> int:
        """How many baselines an image has; explanations are averaged over them."""
        return 1

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem's images have no such baselines, or None."""
        return None

    @abstractmethod
    def __call__(self, problem: Problem, rng: Rng, row: Tensor, draw: Tensor) -> Tensor:
        """The baselines of some images.

        Parameters
        ----------
        problem
            Gives images and background.
        rng
            Of the explainer that asks.
        row
            (n,) rows of the problem's images.
        draw
            (n,) numbers below `draws`.

        Returns
        -------
        Tensor
            (n, C, H, W), in [0, 1].
        """


@dataclass(frozen=True)
class Constant(Baseline):
    """The same value in every pixel and channel.

    Parameters
    ----------
    value
        In [0, 1]: 0 is black, 1 is white.
    """

    value: Fraction = 0.0

    def __call__(self, problem: Problem, rng: Rng, row: Tensor, draw: Tensor) -> Tensor:
        """See `Baseline`."""
        return problem.images.new_full((len(row), *problem.images.shape[1:]), self.value)


@dataclass(frozen=True)
class BackgroundMean(Baseline):
    """The mean of the background images at each position, channel by channel."""

    def unsupported(self, problem: Problem) -> str | None:
        """See `Baseline`."""
        return without_background(problem)

    def __call__(self, problem: Problem, rng: Rng, row: Tensor, draw: Tensor) -> Tensor:
        """See `Baseline`."""
        return problem.background.mean(dim=0).expand(len(row), -1, -1, -1)


@dataclass(frozen=True)
class TrainingSample(Baseline):
    """Background images, drawn without replacement and the same for all images.

    Parameters
    ----------
    samples
        How many; all of them if there are fewer.
    """

    samples: PositiveInt = 10

    def draws(self, problem: Problem) -> int:
        """See `Baseline`."""
        return min(self.samples, len(problem.background))

    def unsupported(self, problem: Problem) -> str | None:
        """See `Baseline`."""
        return without_background(problem)

    def __call__(self, problem: Problem, rng: Rng, row: Tensor, draw: Tensor) -> Tensor:
        """See `Baseline`."""
        order = torch.randperm(len(problem.background), generator=rng.shared())
        return problem.background[order.to(draw.device)[draw]]


@dataclass(frozen=True)
class Blurred(Baseline):
    """The image itself after a Gaussian blur; see `removal.Blur` for what happens at the border.

    Parameters
    ----------
    sigma
        Standard deviation in pixels.
    """

    shared: ClassVar[bool] = False

    sigma: PositiveFloat = 3.0

    def __call__(self, problem: Problem, rng: Rng, row: Tensor, draw: Tensor) -> Tensor:
        """See `Baseline`."""
        return blurred(problem.images[row], self.sigma, problem)


@dataclass(frozen=True)
class UniformNoise(Baseline):
    """Uniform on (0, 1), independent over pixels, channels and images.

    Parameters
    ----------
    samples
        Baselines for each image.
    """

    shared: ClassVar[bool] = False

    samples: PositiveInt = 1

    def draws(self, problem: Problem) -> int:
        """See `Baseline`."""
        return self.samples

    def __call__(self, problem: Problem, rng: Rng, row: Tensor, draw: Tensor) -> Tensor:
        """See `Baseline`."""
        return rng.each(problem.index[row], draw).uniform(*problem.images.shape[1:])


def blurred(images: Tensor, sigma: float, problem: Problem) -> Tensor:
    """The images (n, C, H, W) with every pixel replaced by `removal.Blur`."""
    nothing = torch.zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool, device=images.device)
    return Blur(sigma)(images, nothing, problem)


def without_background(problem: Problem) -> str | None:
    """Why an explainer that compares with background images cannot explain this problem, or None."""
    return None if len(problem.background) else "needs background images, and there are none"
