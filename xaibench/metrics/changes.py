"""What counts as no change of an output."""

from __future__ import annotations

import torch
from torch import Tensor

RESOLUTION = 2.0**-20
"""A change below this share of the largest output counts as none: float32 passes do not resolve it."""


def changes(before: Tensor, after: Tensor) -> Tensor:
    """(..., S), float64: `before - after`, and exactly 0 where the two are equal but for rounding.

    Rounding differs with the place in a batch; without this, the ranks and signs of changes that are none would be noise.

    Parameters
    ----------
    before, after
        (..., S) or (..., 1), outputs that have one scale along the last dimension.
    """
    before, after = before.to(torch.float64), after.to(torch.float64)
    change = before - after
    largest = torch.maximum(before.abs(), after.abs()).amax(dim=-1, keepdim=True)
    return torch.where(change.abs() <= RESOLUTION * largest, 0.0, change)
