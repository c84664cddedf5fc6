"""Attribution localization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.metrics.localization import PooledLocalization, share_inside


@dataclass(frozen=True)
class AttributionLocalization(PooledLocalization):
    """How much denser positive relevance is in the true mask than in the whole image.

    The share of the positive relevance that lies in the mask, divided by the mask's share of the image: 1 is chance, which a constant
    positive map has, and image over mask is the most. Negative relevance does not count. Nothing is ranked, so there are no ties. Field:
    see `PooledLocalization`.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, pixels of the image / pixels of the mask]; higher is better. `unweighted`: the share itself, in [0, 1]. NaN
        where the mask has no pixel, where no relevance is positive, or where the map holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions, images and masks differ in batch, targets or spatial size.

    References
    ----------
    Kohlbrenner et al., Towards best practice in explaining neural network decisions with LRP, IJCNN 2020 (arXiv:1910.09840): the weighted
    localization mu_w as `value`, mu as `unweighted`. Differs: a mask of any shape in place of a bounding box.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Kohlbrenner et al., 2020 (arXiv:1910.09840)"

    def compare(self, maps: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        """See `LocalizationMetric`."""
        share = share_inside(maps.clamp(min=0), masks)
        return {"value": share / masks.to(maps.dtype).mean(dim=(2, 3)), "unweighted": share}
