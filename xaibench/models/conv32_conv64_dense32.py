"""Two 3x3 convolutions and a narrow dense layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from xaibench.component import Fraction
from xaibench.models.layers import flat_features, keras_initialized, too_small
from xaibench.problem import Model, Recipe


@dataclass(frozen=True)
class Conv32Conv64Dense32(Model):
    """Network of study A (Fashion-MNIST with DeepSHAP).

    Conv 3x3, 32 - ReLU - max-pool 2 - dropout - conv 3x3, 64 - ReLU - max-pool 2 - dropout - dense 32 - ReLU - dropout - dense.
    70,378 parameters on 28 x 28 grey images with ten classes.

    Parameters
    ----------
    dropout
        Share of units dropped, at all three places.

    References
    ----------
    Explainable Machine Learning, assignment. Dropout rates and training settings are not given there: these are ours.
    """

    recipe: ClassVar = Recipe(optimizer="adam", learning_rate=1e-3, epochs=15, batch_size=128, keep="best")

    dropout: Fraction = 0.2

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return too_small(image_shape, 10)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from Glorot uniform weights and zero biases."""
        features: list[nn.Module] = [
            nn.Conv2d(image_shape[0], 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(self.dropout),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(self.dropout),
            nn.Flatten(),
        ]
        flat = flat_features(features, image_shape)
        return keras_initialized(nn.Sequential(*features, nn.Linear(flat, 32), nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(32, classes)))
