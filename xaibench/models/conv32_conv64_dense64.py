"""Two 3x3 convolutions, one pooling and a dense layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from xaibench.models.layers import flat_features, keras_initialized, too_small
from xaibench.problem import Model, Recipe


@dataclass(frozen=True)
class Conv32Conv64Dense64(Model):
    """Network of study D (gradients and expected gradients on Fashion-MNIST).

    Conv 3x3, 32 - ReLU - max-pool 2 - conv 3x3, 64 - ReLU - dense 64 - ReLU - dense.
    515,146 parameters on 28 x 28 grey images with ten classes.

    References
    ----------
    Gradients notebook: Adam, 5 epochs, batch 32, last epoch kept.
    """

    recipe: ClassVar = Recipe(optimizer="adam", learning_rate=1e-3, epochs=5, batch_size=32, keep="last")

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return too_small(image_shape, 8)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from Glorot uniform weights and zero biases."""
        features: list[nn.Module] = [
            nn.Conv2d(image_shape[0], 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
        ]
        flat = flat_features(features, image_shape)
        return keras_initialized(nn.Sequential(*features, nn.Linear(flat, 64), nn.ReLU(), nn.Linear(64, classes)))
