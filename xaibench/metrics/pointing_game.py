"""Pointing game."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xaibench.component import NonNegativeFloat
from xaibench.metrics.localization import OrderedLocalization


@dataclass(frozen=True)
class PointingGame(OrderedLocalization):
    """Whether the pixel of the highest relevance lies in the true mask, or not farther from it than a tolerance.

    Where several pixels share the highest relevance, the share of them that do: the chance that one drawn among them hits. A constant map
    so has the chance of a random guess. Other fields: see `OrderedLocalization`.

    Parameters
    ----------
    tolerance
        Largest distance from the mask, between the centers of pixels, that is still a hit.

    Returns
    -------
    Scores
        `value`: (B, T), 0 or 1, between them at ties; higher is better. NaN where the mask has no pixel, or the map holds a NaN or an
        infinite value.

    Raises
    ------
    ValueError
        If attributions, images and masks differ in batch, targets or spatial size.

    References
    ----------
    Zhang et al., Top-down neural attention by excitation backprop, ECCV 2016, IJCV 2018 (arXiv:1608.00507), section 4.1. Differs: theirs
    counts hits over the images of a class, first, and allows 15 pixels, which suits photographs; the expectation over ties.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Zhang et al., 2018 (arXiv:1608.00507)"

    tolerance: NonNegativeFloat = 0.0

    def compare(self, maps: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        """See `LocalizationMetric`."""
        values, near = maps.flatten(2), self._near(masks).flatten(2)
        highest = values == values.amax(dim=2, keepdim=True)
        return {"value": (highest & near).sum(dim=2) / highest.sum(dim=2).to(maps.dtype)}

    def _near(self, masks: Tensor) -> Tensor:
        """The pixels that are in the masks or not farther away than the tolerance."""
        # no pixel is farther from another than this
        reach = min(math.floor(self.tolerance), max(masks.shape[2:]))
        if reach == 0:
            return masks
        offsets = torch.arange(-reach, reach + 1, device=masks.device, dtype=torch.float32)
        disk = (offsets[:, None].square() + offsets.square() <= self.tolerance**2).to(torch.float32)
        hits = functional.conv2d(masks.flatten(0, 1)[:, None].to(torch.float32), disk[None, None], padding=reach)
        return hits.view(masks.shape) > 0.5
