"""Area under the receiver operating characteristic of a map as a detector of the true mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.metrics.localization import OrderedLocalization


@dataclass(frozen=True)
class LocalizationAuc(OrderedLocalization):
    """Chance that a pixel of the true mask has a higher relevance than a pixel outside, ties counted half.

    It is the area under the receiver operating characteristic of the map, taken as a detector of the mask. 1/2 is chance: a constant map
    has it. Only the order of the pixels matters. Fields: see `OrderedLocalization`.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; higher is better. NaN where the mask has no pixel or all of them, or the map holds a NaN or an infinite
        value.

    Raises
    ------
    ValueError
        If attributions, images and masks differ in batch, targets or spatial size.

    References
    ----------
    Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 2006, section 7.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Fawcett, 2006"

    def compare(self, maps: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        """See `LocalizationMetric`."""
        values, inside = maps.flatten(2).contiguous(), masks.flatten(2)
        ordered = values.sort(dim=2).values
        # twice the number of pixels below, ties half
        below = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
        size = inside.sum(dim=2)
        wins = (below * inside).sum(dim=2) - size**2  # without those among the mask's own pixels
        return {"value": wins.to(maps.dtype) / (2 * size * (values.shape[2] - size))}
