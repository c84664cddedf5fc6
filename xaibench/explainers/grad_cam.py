"""Grad-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.explainers.feature_maps import GradientActivation


@dataclass(frozen=True)
class GradCam(GradientActivation):
    """Where the feature maps that raise the explained output are active: their sum weighted by their mean gradients, negative parts cut.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), not negative, output units times activation over activation; the coarse map upsampled bilinearly
        (`align_corners=False`). No completeness.

    References
    ----------
    Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, Grad-CAM, ICCV 2017 (arXiv:1610.02391), eqs. 1 and 2.
    """

    paper: ClassVar = "Selvaraju et al., 2017 (arXiv:1610.02391)"

    def combine(self, maps: Tensor, gradient: Tensor) -> Tensor:
        """See `GradientActivation`."""
        return (gradient.mean((2, 3), keepdim=True) * maps).sum(1).relu()
