"""Attribution maps: their shape, and one number for each pixel."""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor

from xaibench.problem import Attributions, Problem

VERSION = 1

Pooling = Literal["sum", "abs_sum", "max"]
"""How a pixel's channels become one number: their sum, the sum of their absolute values, or the largest."""


def check_shapes(problem: Problem, attributions: Attributions) -> None:
    """Raise ValueError, naming both shapes, unless the attributions are (B, T, C or 1, H, W) for the problem's images and targets."""
    shape = tuple(attributions.values.shape)
    (batch, channels, *size), targets = problem.images.shape, problem.targets.shape[1]
    if shape not in [(batch, targets, depth, *size) for depth in (1, channels)]:
        expected = (batch, targets, channels, *size)
        raise ValueError(
            f"Attributions.values of shape {shape}: expected {expected}, or one channel of it, "
            f"for images of shape {tuple(problem.images.shape)} and {targets} targets each"
        )


def pool(problem: Problem, attributions: Attributions, pooling: Pooling) -> Tensor:
    """(B, T, H, W), float64: one attribution for each pixel. NaN in a channel gives NaN; -0 becomes 0.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.
    """
    check_shapes(problem, attributions)
    values = attributions.values.detach().to(torch.float64)
    if pooling == "max":
        return values.amax(dim=2) + 0.0
    channels = (values.abs() if pooling == "abs_sum" else values).unbind(dim=2)
    # added one by one: the order in which torch.sum adds depends on the layout, and ranks must not
    return functools.reduce(torch.add, channels) + 0.0


def finite(attributions: Attributions) -> Tensor:
    """(B, T), bool: whether a map holds neither a NaN nor an infinite value, in any channel; the largest of the channels may hide one."""
    return attributions.values.isfinite().flatten(2).all(dim=2)


def pool_finite(problem: Problem, attributions: Attributions, pooling: Pooling) -> Tensor:
    """As `pool`, but NaN everywhere for a map that holds a NaN or an infinite value in any channel."""
    maps = pool(problem, attributions, pooling)
    return maps.masked_fill(~finite(attributions)[..., None, None], torch.nan)
