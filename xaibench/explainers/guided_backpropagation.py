"""Guided backpropagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from xaibench.explainers.backward_rules import substitute
from xaibench.explainers.relu_rule import ReluRule


@dataclass(frozen=True)
class GuidedBackpropagation(ReluRule):
    """Which input values excite the units that excite the output: the gradient, cut to its positive part at every active ReLU.

    Returns
    -------
    Attributions
        (B, T, C, H, W), output units per unit of intensity, signed (only the ReLUs cut, not the image). No completeness.

    References
    ----------
    Springenberg, Dosovitskiy, Brox and Riedmiller, Striving for simplicity: the all convolutional net, 2015 (arXiv:1412.6806), section 3.4.
    """

    paper: ClassVar = "Springenberg et al., 2015 (arXiv:1412.6806)"

    @staticmethod
    def rule(module: nn.ReLU, inputs: Tensor, output: Tensor) -> Tensor:
        """What arrives goes on where it is positive and the unit is active."""
        active = output > 0
        return substitute(output, inputs, lambda gradient: gradient.clamp(min=0) * active)
