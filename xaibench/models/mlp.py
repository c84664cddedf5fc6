"""A multilayer perceptron."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from xaibench.component import PositiveInt
from xaibench.problem import Model, Recipe


@dataclass(frozen=True)
class Mlp(Model):
    """Dense layers with ReLU on the pixels.

    Parameters
    ----------
    hidden
        Width of each hidden layer.
    """

    recipe: ClassVar = Recipe(optimizer="adam", learning_rate=1e-3, epochs=15, batch_size=128, keep="best")

    hidden: tuple[PositiveInt, ...] = (128, 64)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from PyTorch's default initialization."""
        widths = (math.prod(image_shape), *self.hidden)
        pairs = itertools.pairwise(widths)
        hidden = [layer for inputs, outputs in pairs for layer in (nn.Linear(inputs, outputs), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-1], classes))
