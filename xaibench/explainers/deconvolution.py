"""Deconvolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from xaibench.explainers.backward_rules import substitute
from xaibench.explainers.relu_rule import ReluRule


@dataclass(frozen=True)
class Deconvolution(ReluRule):
    """What the output is reconstructed from: sent back through transposed layers and pooling switches, with ReLU on what is sent back.

    Returns
    -------
    Attributions
        (B, T, C, H, W), output units per unit of intensity, signed (only the ReLUs cut, not the image). No completeness.

    References
    ----------
    Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014 (arXiv:1311.2901), section 2.1. Differs: it
    starts from the explained output, not from the largest activation of a feature map.
    """

    paper: ClassVar = "Zeiler and Fergus, 2014 (arXiv:1311.2901)"

    @staticmethod
    def rule(module: nn.ReLU, inputs: Tensor, output: Tensor) -> Tensor:
        """What arrives goes on where it is positive, whether the unit is active or not."""
        return substitute(output, inputs, lambda gradient: gradient.clamp(min=0))
