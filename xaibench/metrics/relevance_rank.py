"""Relevance rank accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.metrics.localization import NormedLocalization, top_inside


@dataclass(frozen=True)
class RelevanceRank(NormedLocalization):
    """Share of the true mask's pixels that are among the highest relevance, as many pixels as the mask has.

    Where equal pixels compete for the last places, the mean over all their orders. A map without information has the mask's share of the
    image. With ``pooling=sum_absolute`` it is the top-k precision of XAI-TRIS (Clark et al. 2023, arXiv:2306.12816). Field: see
    `NormedLocalization`.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; higher is better. NaN where the mask has no pixel, or the map holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions, images and masks differ in batch, targets or spatial size.

    References
    ----------
    Arras, Osman and Samek, CLEVR-XAI: a benchmark dataset for the ground truth evaluation of neural network explanations, Information
    Fusion 2022 (arXiv:2003.07258): relevance rank accuracy. Differs: the expectation over ties.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Arras et al., 2020 (arXiv:2003.07258)"

    def compare(self, maps: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        """See `LocalizationMetric`."""
        size = masks.flatten(2).sum(dim=2)
        return {"value": top_inside(maps, masks, size) / size}
