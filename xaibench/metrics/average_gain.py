"""Average gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from xaibench.metrics.masked_image import MaskedImageMetric


@dataclass(frozen=True)
class AverageGain(MaskedImageMetric):
    """Share of the missing probability that is gained when the image is multiplied by its map.

    max(0, O - Y) / (1 - Y), with the target's probability Y for the image and O for the image times its map, which is scaled to [0, 1]. The
    counterpart of the average drop, which sees losses only. Fields: see `MaskedImageMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; higher is better. NaN for a map that is constant (for `negative="zero"`: one without a positive value),
        for one with a NaN or an infinite value, where the classifier gives a NaN, and where nothing is missing, as with a single
        class.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Zhang et al., Opti-CAM: optimizing saliency maps for interpretability, 2024 (arXiv:2301.07002), average gain. Differs: a share, not a
    percentage.
    """

    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Zhang et al., 2024 (arXiv:2301.07002)"

    def score(self, before: Tensor, after: Tensor) -> Tensor:
        """See `MaskedImageMetric`."""
        return -(logsigmoid(-after) - logsigmoid(-before)).clamp_max(0).expm1()
