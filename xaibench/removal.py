"""Removal operators: what a removed pixel becomes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.component import Component, Fraction, PositiveFloat
from xaibench.problem import Problem

VERSION = 1


@dataclass(frozen=True)
class Removal(Component):
    """Removes pixels from images. Scores under different operators are not comparable."""

    @abstractmethod
    def __call__(self, images: Tensor, kept: Tensor, problem: Problem) -> Tensor:
        """The images without their removed pixels, as a new tensor.

        Parameters
        ----------
        images
            (n, C, H, W), in [0, 1]; any images, not necessarily those of `problem`.
        kept
            (n, 1, H, W), bool: True where the pixel stays, in all channels.
        problem
            Gives the background.

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

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem) -> Tensor:
        """See `Removal`."""
        return images.masked_fill(~kept, self.value)


@dataclass(frozen=True)
class TrainingMean(Removal):
    """A removed pixel takes the mean of the background at its position, channel by channel."""

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem) -> Tensor:
        """See `Removal`."""
        return torch.where(kept, images, problem.background.mean(dim=0))


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

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem) -> Tensor:
        """See `Removal`."""
        height, width = images.shape[-2:]
        blurred = self._weights(height, images) @ images @ self._weights(width, images).T
        return torch.where(kept, images, blurred)

    def _weights(self, size: int, like: Tensor) -> Tensor:
        """(size, size): row i holds the weights that make the blurred pixel i of a line."""
        place = torch.arange(size, device=like.device, dtype=like.dtype)
        # a softmax, as it divides by the largest weight first: a tiny sigma must not give 0 / 0
        return torch.softmax(-0.5 * ((place[:, None] - place) / self.sigma) ** 2, dim=1)
