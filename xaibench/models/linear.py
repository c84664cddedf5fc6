"""A linear classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from xaibench.problem import Model, Recipe


@dataclass(frozen=True)
class Linear(Model):
    """Multinomial logistic regression on the pixels: the network whose explanations are known in closed form."""

    recipe: ClassVar = Recipe(optimizer="adam", learning_rate=1e-3, epochs=10, batch_size=128, keep="best")

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from PyTorch's default initialization."""
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), classes))
