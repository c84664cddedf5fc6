"""LayerCAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.explainers.feature_maps import GradientActivation


@dataclass(frozen=True)
class LayerCam(GradientActivation):
    """Where feature maps are active that would raise the explained output: the sum of activation x positive gradient, cut at 0.

    Each position has a weight of its own, so early layers may be named too.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), not negative, output units; the coarse map upsampled bilinearly (`align_corners=False`). No completeness.

    References
    ----------
    Jiang, Zhang, Hou, Cheng and Wei, LayerCAM, IEEE Transactions on Image Processing 30, 2021 (doi:10.1109/TIP.2021.3089943).
    Differs: maps of several layers are not fused.
    """

    paper: ClassVar = "Jiang et al., 2021 (doi:10.1109/TIP.2021.3089943)"

    def combine(self, maps: Tensor, gradient: Tensor) -> Tensor:
        """See `GradientActivation`."""
        return (gradient.relu() * maps).sum(1).relu()
