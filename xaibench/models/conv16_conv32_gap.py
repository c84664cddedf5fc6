"""Two padded 3x3 convolutions and global average pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from xaibench.models.layers import too_small
from xaibench.problem import Model, Recipe


@dataclass(frozen=True)
class Conv16Conv32Gap(Model):
    """A small network for images of any size from 2 x 2 pixels.

    Conv 3x3 same, 16 - ReLU - max-pool 2 - conv 3x3 same, 32 - ReLU - global average pooling - dense.
    """

    recipe: ClassVar = Recipe(optimizer="adam", learning_rate=1e-2, epochs=30, batch_size=64, keep="best")

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return too_small(image_shape, 2)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from PyTorch's default initialization."""
        return nn.Sequential(
            nn.Conv2d(image_shape[0], 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, classes),
        )
