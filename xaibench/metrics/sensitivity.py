"""How far maps move: what max- and average-sensitivity share."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.metrics.reexplanation import Copies
from xaibench.metrics.robustness import norm


def change(copies: Copies, normalized: bool) -> Tensor:
    """(n, S, T): the Frobenius norm of the maps' change, divided by the norm of the image's map if asked for (NaN where that is 0)."""
    moved = norm(copies.values - copies.original)
    size = norm(copies.original)
    return moved / size.masked_fill(size == 0, torch.nan) if normalized else moved
