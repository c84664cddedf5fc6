"""Grad-CAM++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.explainers.feature_maps import GradientActivation


@dataclass(frozen=True)
class GradCamPlusPlus(GradientActivation):
    """Where the feature maps that raise the explained output are active, small regions counting as much as large ones.

    A map's weight is the sum over its positions of alpha x positive gradient. Alpha = 1 / (2 + gradient x the map's sum) falls from 1/2
    as the map gets larger.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), not negative, output units times activation over activation; the coarse map upsampled bilinearly
        (`align_corners=False`). No completeness.

    References
    ----------
    Chattopadhyay, Sarkar, Howlader and Balasubramanian, Grad-CAM++, WACV 2018 (arXiv:1710.11063), eq. 19. Differs: the gradients' factor
    exp(output), one for the whole map, is left out; of signed maps the positive part is taken, as they would give alpha poles and, as
    weights are positive, sum to less than 0 nearly everywhere.
    """

    paper: ClassVar = "Chattopadhyay et al., 2018 (arXiv:1710.11063)"

    def combine(self, maps: Tensor, gradient: Tensor) -> Tensor:
        """See `GradientActivation`."""
        positive, active = gradient.relu(), maps.relu()
        # The squared gradient is cancelled from numerator and denominator: where it is 0, so is the positive gradient.
        weights = (positive / (2 + positive * active.sum((2, 3), keepdim=True))).sum((2, 3), keepdim=True)
        return (weights * active).sum(1)
