"""Deconvolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from xaibench import gradients
from xaibench.explainers.backward_rules import ruled, substitute
from xaibench.explainers.module_rules import reason_against_relu_rule
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Deconvolution(Explainer):
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

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Zeiler and Fergus, 2014 (arXiv:1311.2901)"

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: every activation must be a ReLU module, not in place."""
        return super().unsupported(problem) or reason_against_relu_rule(problem.classifier, problem.images[:1])

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image, and one backward pass for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        with ruled(problem.classifier, {nn.ReLU: rectified}):
            return Attributions(gradients.gradient(problem, self.output))


def rectified(_module: nn.ReLU, inputs: Tensor, output: Tensor) -> Tensor:
    """The rule of ReLU: what arrives goes on where it is positive, whether the unit is active or not."""
    return substitute(output, inputs, lambda gradient: gradient.clamp(min=0))
