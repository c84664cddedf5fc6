"""HiResCAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.explainers.feature_maps import GradientActivation


@dataclass(frozen=True)
class HiresCam(GradientActivation):
    """What each position of the feature maps contributes to the explained output's linearization: the sum of activation x gradient.

    Where only linear layers, ReLU and max-pooling follow, the coarse map sums to the output but for what the biases behind the layer
    contribute. Whether the maps are taken before or after a ReLU makes no difference.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), output units, signed; the coarse map upsampled bilinearly (`align_corners=False`). No completeness, as
        upsampling does not keep the sum.

    References
    ----------
    Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks, 2020
    (arXiv:2011.08891), the definition of HiResCAM. As in the authors' code no ReLU is applied: negative parts count against the class.
    """

    paper: ClassVar = "Draelos and Carin, 2020 (arXiv:2011.08891)"

    def combine(self, maps: Tensor, gradient: Tensor) -> Tensor:
        """See `GradientActivation`."""
        return (gradient * maps).sum(1)
