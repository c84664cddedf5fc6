"""Removal operators: what a removed pixel becomes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import Component, ConfigurationError, Fraction, PositiveFloat, PositiveInt
from xaibench.problem import Problem

VERSION = 1


@dataclass(frozen=True)
class Removal(Component):
    """Removes pixels from images. Scores under different operators are not comparable.

    Attributes
    ----------
    local
        Whether what a removed pixel becomes does not depend on which others are removed.
    """

    local: ClassVar[bool] = True

    def draws(self, problem: Problem) -> int:
        """How many versions of a removed pixel there are, whose outputs are to be averaged."""
        return 1

    @abstractmethod
    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """The images without their removed pixels, as a new tensor.

        Parameters
        ----------
        images
            (n, C, H, W), in [0, 1]; any images, not necessarily those of `problem`.
        kept
            (n, 1, H, W), bool: True where the pixel stays, in all channels.
        problem
            Gives the background.
        draw
            (n,), int64, below `draws`: the version for each image; not needed where there is one.

        Returns
        -------
        Tensor
            (n, C, H, W); kept pixels have exactly their old values.
        """


@dataclass(frozen=True)
class Constant(Removal):
    """A removed pixel takes the same value in every channel.

    Parameters
    ----------
    value
        In [0, 1]: 0 is the darkest, 1 the brightest.
    """

    value: Fraction = 0.0

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        return _mixed(images, kept, images.new_tensor(self.value))


@dataclass(frozen=True)
class TrainingMean(Removal):
    """A removed pixel takes the mean of the background at its position, channel by channel."""

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        return _mixed(images, kept, problem.background.mean(dim=0))


@dataclass(frozen=True)
class Blur(Removal):
    """A removed pixel takes its value in the Gaussian-blurred image.

    What lies beyond the border has no weight (the others' weights are scaled to sum to 1), so a constant image stays constant. The
    image is blurred before anything is removed: what a removed pixel becomes does not depend on which others are removed.

    Parameters
    ----------
    sigma
        Standard deviation in pixels.
    """

    sigma: PositiveFloat = 3.0

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        height, width = images.shape[-2:]
        blurred = self._weights(height, images) @ images @ self._weights(width, images).T
        return _mixed(images, kept, blurred)

    def _weights(self, size: int, like: Tensor) -> Tensor:
        """(size, size): row i holds the weights that make the blurred pixel i of a line."""
        place = torch.arange(size, device=like.device, dtype=like.dtype)
        # a softmax, as it divides by the largest weight first: a tiny sigma must not give 0 / 0
        return torch.softmax(-0.5 * ((place[:, None] - place) / self.sigma) ** 2, dim=1)


@dataclass(frozen=True)
class Marginal(Removal):
    """A removed pixel takes its value in a background image; outputs are averaged over several of them (the marginal expectation).

    Parameters
    ----------
    samples
        Background images, the first of the problem's; all of them if there are fewer.

    Raises
    ------
    ConfigurationError
        If it is called without `draw` though there are several.
    """

    samples: PositiveInt = 10

    def draws(self, problem: Problem) -> int:
        """See `Removal`."""
        return min(self.samples, len(problem.background))

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        if draw is None:
            reason = several_draws(self, problem)
            if reason:
                raise ConfigurationError(reason)
            return _mixed(images, kept, problem.background[0])
        return _mixed(images, kept, problem.background.index_select(0, draw))


def several_draws(removal: Removal, problem: Problem) -> str | None:
    """Why what does not average over versions of a removed pixel cannot use this removal, or None."""
    count = removal.draws(problem)
    return None if count == 1 else f"{removal} gives {count} versions of a removed pixel, and only one can be used here"


def _mixed(images: Tensor, kept: Tensor, removed: Tensor) -> Tensor:
    """`torch.where(kept, images, removed)`, exactly and, on CPUs, several times faster: lerp is exact at both ends."""
    # read as bytes, bools turn into floats seven times faster
    return torch.lerp(removed.expand_as(images), images, kept.view(torch.uint8).to(images.dtype))
