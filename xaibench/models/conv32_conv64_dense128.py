"""Two 3x3 convolutions, one late pooling and a dense layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from xaibench.component import Fraction
from xaibench.models.layers import flat_features, keras_initialized, too_small
from xaibench.problem import Model, Recipe


@dataclass(frozen=True)
class Conv32Conv64Dense128(Model):
    """Network of study F (saturating pixels of MNIST).

    Conv 3x3, 32 - ReLU - conv 3x3, 64 - ReLU - max-pool 2 - dropout - dense 128 - ReLU - dropout - dense.
    1,199,882 parameters on 28 x 28 grey images with ten classes.

    Parameters
    ----------
    convolution_dropout, dense_dropout
        Shares of units dropped after the pooling layer and after the dense layer.

    References
    ----------
    Saturation notebook: Adadelta (learning rate 1, rho .95), 12 epochs, batch 128, last epoch kept, dropout .25 and .5.
    """

    recipe: ClassVar = Recipe(optimizer="adadelta", learning_rate=1.0, epochs=12, batch_size=128, keep="last")

    convolution_dropout: Fraction = 0.25
    dense_dropout: Fraction = 0.5

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return too_small(image_shape, 6)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from Glorot uniform weights and zero biases."""
        features: list[nn.Module] = [
            nn.Conv2d(image_shape[0], 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(self.convolution_dropout),
            nn.Flatten(),
        ]
        flat = flat_features(features, image_shape)
        return keras_initialized(
            nn.Sequential(*features, nn.Linear(flat, 128), nn.ReLU(), nn.Dropout(self.dense_dropout), nn.Linear(128, classes))
        )
