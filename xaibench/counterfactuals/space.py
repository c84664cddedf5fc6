"""What gradient descent to counterfactuals moves: pixels, or numbers that stand for images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

VERSION = 1


class Space(ABC):
    """What is moved: variables (n, V) within [low, high], which stand for images, here flat rows (n, D) in channels-last order.

    Attributes
    ----------
    low, high, proximal
        Bounds of the variables; whether `shrunk` takes care of the distance, whose gradient is followed otherwise.
    """

    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    proximal: ClassVar[bool] = True

    @abstractmethod
    def start(self, images: Tensor) -> Tensor:
        """The variables to start from, for images (n, C, H, W)."""

    @abstractmethod
    def rows(self, variables: Tensor) -> Tensor:
        """The images that variables stand for."""

    def shrunk(self, variables: Tensor, origin: Tensor, amount: Tensor) -> Tensor:
        """What minimizes |v - variables|^2 / 2 + `amount` (n, 1) times the distance to the origin, over v; may overwrite them."""
        return variables


def flat(images: Tensor) -> Tensor:
    """(n, D): images (n, C, H, W) as rows in channels-last order, in which backward passes are fastest on a CPU."""
    return images.permute(0, 2, 3, 1).flatten(1)


def upright(rows: Tensor, like: Tensor) -> Tensor:
    """(n, C, H, W): the images of flat rows, without a copy."""
    _, channels, height, width = like.shape
    return rows.unflatten(1, (height, width, channels)).permute(0, 3, 1, 2)
