"""Average increase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.metrics.changes import changes
from xaibench.metrics.masked_image import MaskedImageMetric


@dataclass(frozen=True)
class AverageIncrease(MaskedImageMetric):
    """Whether the target's probability is higher when the image is multiplied by its map, 1 or 0.

    O > Y, with the target's probability Y for the image and O for the image times its map, which is scaled to [0, 1]. Its mean over images
    is the increase in confidence. Fields: see `MaskedImageMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), 0 or 1; higher is better. NaN for a map that is constant (for `negative="zero"`: one without a positive value), for
        one with a NaN or an infinite value, and where the classifier gives a NaN. Log-odds that differ by less than 2^-22 of the larger
        are equal.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Chattopadhay et al., Grad-CAM++, WACV 2018 (arXiv:1710.11063), % increase in confidence. Differs: a share, not a percentage.
    """

    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Chattopadhay et al., 2018 (arXiv:1710.11063)"

    def score(self, before: Tensor, after: Tensor) -> Tensor:
        """See `MaskedImageMetric`."""
        return (changes(after[..., None], before[..., None])[..., 0] > 0).to(torch.float32)
