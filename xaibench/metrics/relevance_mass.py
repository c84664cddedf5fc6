"""Relevance mass accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.metrics.localization import NormedLocalization, share_inside


@dataclass(frozen=True)
class RelevanceMass(NormedLocalization):
    """Share of the relevance of either sign, by default of its square, that lies in the true mask.

    A map without information has, in the mean, the mask's share of the image. Nothing is ranked, so there are no ties. Field: see
    `NormedLocalization`.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; higher is better. NaN where the mask has no pixel, where the pooled map is 0 everywhere, or where it
        holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions, images and masks differ in batch, targets or spatial size.

    References
    ----------
    Arras, Osman and Samek, CLEVR-XAI: a benchmark dataset for the ground truth evaluation of neural network explanations, Information
    Fusion 2022 (arXiv:2003.07258): relevance mass accuracy, and the ways to pool channels.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Arras et al., 2020 (arXiv:2003.07258)"

    def compare(self, maps: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        """See `LocalizationMetric`."""
        return {"value": share_inside(maps, masks)}
