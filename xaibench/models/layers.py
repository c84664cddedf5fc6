"""Building blocks of the networks."""

from __future__ import annotations

import math

import torch
from torch import nn

VERSION = 1


def keras_initialized(network: nn.Module) -> nn.Module:
    """The network with Glorot uniform weights and zero biases (Glorot and Bengio 2010), the start of a Keras network."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def flat_features(layers: list[nn.Module], image_shape: tuple[int, int, int]) -> int:
    """How many numbers these layers give for one image."""
    stack = nn.Sequential(*layers).eval()
    with torch.no_grad():
        shape = stack(torch.zeros(1, *image_shape)).shape[1:]
    stack.train()
    return math.prod(shape)


def too_small(image_shape: tuple[int, int, int], least: int) -> str | None:
    """Why images are too small for a network that needs `least` pixels on each side, or None."""
    height, width = image_shape[1:]
    return f"images of {height}x{width} pixels: expected at least {least}x{least}" if min(height, width) < least else None
