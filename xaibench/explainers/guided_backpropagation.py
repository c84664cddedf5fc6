"""Guided backpropagation."""

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
class GuidedBackpropagation(Explainer):
    """Which input values excite the units that excite the output: the gradient, cut to its positive part at every active ReLU.

    Returns
    -------
    Attributions
        (B, T, C, H, W), output units per unit of intensity, signed (only the ReLUs cut, not the image). No completeness.

    References
    ----------
    Springenberg, Dosovitskiy, Brox and Riedmiller, Striving for simplicity: the all convolutional net, 2015 (arXiv:1412.6806), section 3.4.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Springenberg et al., 2015 (arXiv:1412.6806)"

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: every activation must be a ReLU module, not in place."""
        return super().unsupported(problem) or reason_against_relu_rule(problem.classifier, problem.images[:1])

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image, and one backward pass for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        with ruled(problem.classifier, {nn.ReLU: guided}):
            return Attributions(gradients.gradient(problem, self.output))


def guided(_module: nn.ReLU, inputs: Tensor, output: Tensor) -> Tensor:
    """The rule of ReLU: what arrives goes on where it is positive and the unit is active."""
    active = output > 0
    return substitute(output, inputs, lambda gradient: gradient.clamp(min=0) * active)
