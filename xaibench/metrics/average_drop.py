"""Average drop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from xaibench.metrics.masked_image import MaskedImageMetric


@dataclass(frozen=True)
class AverageDrop(MaskedImageMetric):
    """Share of the target's probability that is lost when the image is multiplied by its map.

    max(0, Y - O) / Y, with the target's probability Y for the image and O for the image times its map, which is scaled to [0, 1]. A map
    that is 1 nearly everywhere loses nothing: read it beside the map's size. Fields: see `MaskedImageMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; lower is better. NaN for a map that is constant (for `negative="zero"`: one without a positive value),
        for one with a NaN or an infinite value, and where the classifier gives a NaN.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Chattopadhay et al., Grad-CAM++, WACV 2018 (arXiv:1710.11063), average drop %. Differs: a share, not a percentage.
    """

    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Chattopadhay et al., 2018 (arXiv:1710.11063)"

    def score(self, before: Tensor, after: Tensor) -> Tensor:
        """See `MaskedImageMetric`."""
        return -(logsigmoid(after) - logsigmoid(before)).clamp_max(0).expm1()
