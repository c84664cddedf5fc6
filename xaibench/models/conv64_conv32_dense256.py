"""Two padded 2x2 convolutions and a dense layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from xaibench.component import Fraction
from xaibench.models.layers import flat_features, keras_initialized, too_small
from xaibench.problem import Model, Recipe


@dataclass(frozen=True)
class Conv64Conv32Dense256(Model):
    """Network of study C (counterfactuals on MNIST and Fashion-MNIST).

    Conv 2x2 same, 64 - ReLU - max-pool 2 - dropout - conv 2x2 same, 32 - ReLU - max-pool 2 - dropout - dense 256 - ReLU - dropout - dense.
    412,778 parameters on 28 x 28 grey images with ten classes.

    Parameters
    ----------
    convolution_dropout, dense_dropout
        Shares of units dropped after the pooling layers and after the dense layer.

    References
    ----------
    Explaining Neural Models for Image Classification, part II. Dropout rates and training settings are not given there: these are ours.
    """

    recipe: ClassVar = Recipe(optimizer="adam", learning_rate=1e-3, epochs=6, batch_size=128, keep="best")

    convolution_dropout: Fraction = 0.3
    dense_dropout: Fraction = 0.5

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return too_small(image_shape, 4)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from Glorot uniform weights and zero biases."""
        features: list[nn.Module] = [
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(image_shape[0], 64, 2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(self.convolution_dropout),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(64, 32, 2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(self.convolution_dropout),
            nn.Flatten(),
        ]
        flat = flat_features(features, image_shape)
        return keras_initialized(
            nn.Sequential(*features, nn.Linear(flat, 256), nn.ReLU(), nn.Dropout(self.dense_dropout), nn.Linear(256, classes))
        )
