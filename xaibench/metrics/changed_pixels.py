"""Which pixels a counterfactual changes."""

from __future__ import annotations

from torch import Tensor

from xaibench.metrics.counterfactual_metric import Found

VERSION = 1

TOLERANCE = 1 / 512
"""A change up to this counts as none: just below half of one of 255 steps of grey, so that it is none in an image of 8 bits."""


def changed(found: Found, tolerance: float) -> Tensor:
    """(n, H, W), bool: whether any channel differs from the original by more than `tolerance`, in units of [0, 1]."""
    return (found.changes.abs() > tolerance).any(dim=1)
