"""One 3x3 convolution and a wide dense layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from xaibench.models.layers import flat_features, keras_initialized, too_small
from xaibench.problem import Model, Recipe


@dataclass(frozen=True)
class Conv32Dense256(Model):
    """Network of study E (Shapley values lab, Fashion-MNIST).

    Conv 3x3, 32 - ReLU - max-pool 2 - dense 256 - ReLU - dense.
    1,387,594 parameters on 28 x 28 grey images with ten classes.

    References
    ----------
    Shapley values lab. The number and size of filters and the training settings are not given there: these are ours.
    """

    recipe: ClassVar = Recipe(optimizer="adam", learning_rate=1e-3, epochs=10, batch_size=128, keep="best")

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return too_small(image_shape, 4)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from Glorot uniform weights and zero biases."""
        features: list[nn.Module] = [
            nn.Conv2d(image_shape[0], 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        ]
        flat = flat_features(features, image_shape)
        return keras_initialized(nn.Sequential(*features, nn.Linear(flat, 256), nn.ReLU(), nn.Linear(256, classes)))
