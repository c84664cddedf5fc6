"""Changes of an output, and what counts as none."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.perturb import Read

RESOLUTION = 2.0**-22
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


def resolved(output: Read) -> Read:
    """What to read instead of an output: for probabilities near 1, which float32 does not tell apart, the log-odds."""
    return "log_odds" if output == "probability" else output


def output_changes(before: Tensor, after: Tensor, output: Read) -> Tensor:
    """`changes` of an output, from what was read as `resolved` says."""
    found = changes(before, after)
    if output != "probability":
        return found
    before, after = before.to(torch.float64), after.to(torch.float64)
    # near 1 the difference of what is missing to 1: float64 too rounds probabilities of log-odds above 37 to 1
    near_one = torch.sigmoid(-after) - torch.sigmoid(-before)
    return torch.where(found == 0, 0.0, torch.where(before > 0, near_one, torch.sigmoid(before) - torch.sigmoid(after)))
