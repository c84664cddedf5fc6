"""Two 5x5 convolutions and a dense layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from xaibench.component import Fraction
from xaibench.models.layers import flat_features, too_small
from xaibench.problem import Model, Recipe


@dataclass(frozen=True)
class Conv10Conv20Dense50(Model):
    """Network of study B (MNIST and Fashion-MNIST with DeepSHAP and KernelSHAP).

    Conv 5x5, 10 - max-pool 2 - ReLU - conv 5x5, 20 - dropout - max-pool 2 - ReLU - dense 50 - ReLU - dropout - dense.
    21,840 parameters on 28 x 28 grey images with ten classes.

    Parameters
    ----------
    dropout
        Share of units dropped, at both places.

    References
    ----------
    Explaining Neural Models for Image Classification, part I. Training settings are not given there: these are ours.
    """

    recipe: ClassVar = Recipe(optimizer="adam", learning_rate=1e-3, epochs=20, batch_size=64, keep="best")

    dropout: Fraction = 0.5

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return too_small(image_shape, 16)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from PyTorch's default initialization."""
        features: list[nn.Module] = [
            nn.Conv2d(image_shape[0], 10, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(10, 20, 5),
            nn.Dropout(self.dropout),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
        ]
        flat = flat_features(features, image_shape)
        return nn.Sequential(*features, nn.Linear(flat, 50), nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(50, classes))
