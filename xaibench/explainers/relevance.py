"""Layer-wise relevance propagation (LRP) in ratio form: what the composites share.

What goes back is m = R / z, the relevance of a unit over its value, in place of the relevance R: at the output m = 1, and an image's
relevance is image x m. In this form everything that is homogeneous of degree one (ReLU, pooling, sums, concatenation) or linear
(batch normalization, average pooling) needs no rule: its derivative is LRP-0, and the winner takes all in max-pooling. A dense layer
or convolution z = W a + b with weights and biases W', b' by its rule gives m_in = W'^T (m_out z / (W' a + b')).

Biases take their share of the relevance, as one more input of value 1 (section 10.2.1 of the overview), so relevance is conserved only
where they are zero. Batch normalization is a linear layer of its own, not merged into the convolution before it.

References
----------
Bach et al., On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation, PLOS ONE 2015.
Montavon, Binder, Lapuschkin, Samek and Müller, Layer-wise relevance propagation: an overview, 2019, sections 10.2 and 10.3.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from xaibench import gradients
from xaibench.component import PositiveFloat
from xaibench.explainers.backward_rules import Rule, kind_of, ruled, substitute
from xaibench.explainers.module_rules import LINEAR, MATRIX_PRODUCTS, reason_against
from xaibench.problem import Attributions, Explainer, Family, Output, Passes, Problem
from xaibench.seeding import Rng

VERSION = 1

CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
THROUGH_ZERO: tuple[type[nn.Module], ...] = (
    *(nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Hardswish),
)
"""Activations that are 0 at 0; ReLU, whose derivative does, is not among them."""

KINDS = (*CONVOLUTIONS, nn.Linear, *THROUGH_ZERO)
HARMLESS = (LINEAR - MATRIX_PRODUCTS) | {"Relu", "LeakyRelu", "MaxPool2DWithIndices", "AdaptiveMaxPool2D"}


def reason_against_relevance(problem: Problem, output: Output) -> str | None:
    """Why relevance cannot be propagated through this problem's classifier, or None."""
    if output != "logit":
        return f"relevance starts from a logit, and there is no rule for output={output}; use output=logit"
    if not any(kind_of(module, CONVOLUTIONS) for module in problem.classifier.modules()):
        return "the model has no convolution, where alone this composite differs from Input x Gradient"
    return reason_against(problem.classifier, problem.images[:1], KINDS, HARMLESS)


@dataclass(frozen=True)
class Composite(Explainer):
    """A rule for convolutions, and the epsilon rule for dense layers.

    Parameters
    ----------
    epsilon
        Moves sums of contributions away from zero. Where it is small beside them, LRP-epsilon on the dense layers is LRP-0.
    """

    family: ClassVar = Family.GRADIENT
    claims: ClassVar = frozenset({"linearity"})

    epsilon: PositiveFloat = 1e-6

    @abstractmethod
    def convolution_rule(self) -> Rule:
        """The rule for convolutions."""

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: it needs a convolution, and a rule for whatever is neither linear nor ReLU."""
        return super().unsupported(problem) or reason_against_relevance(problem, self.output)

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image, and one backward pass for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return propagated(problem, self.convolution_rule(), epsilon_rule(self.epsilon))


def propagated(problem: Problem, convolution: Rule, dense: Rule) -> Attributions:
    """(B, T, C, H, W) relevance of the targets' logits, by one rule for convolutions and one for dense layers."""
    rules = {**dict.fromkeys(CONVOLUTIONS, convolution), nn.Linear: dense, **dict.fromkeys(THROUGH_ZERO, identity)}
    with ruled(problem.classifier, rules):
        return Attributions(gradients.gradient(problem, "logit") * problem.images[:, None])


def epsilon_rule(epsilon: float) -> Rule:
    """Shares in proportion to the contributions; `epsilon` takes what is left of weak sums (Bach et al., eq. 58)."""

    def rule(_module: nn.Module, _inputs: Tensor, output: Tensor) -> Tensor:
        z = output.detach()
        ratio = z / stabilized(z, epsilon)
        return substitute(output, output, lambda m: m * ratio)

    return rule


def alpha_beta_rule(alpha: float, beta: float, epsilon: float) -> Rule:
    """`alpha` times the relevance to the positive contributions, less `beta` times to the negative ones (Bach et al., eq. 60)."""

    def rule(module: nn.Module, inputs: Tensor, output: Tensor) -> Tensor:
        source = _shared_out(contributions(module, inputs, +1), alpha * output.detach(), epsilon)
        if beta:
            source = source - _shared_out(contributions(module, inputs, -1), beta * output.detach(), epsilon)
        return substitute(output, source)

    return rule


def _shared_out(sums: Tensor, amount: Tensor, epsilon: float) -> Tensor:
    """The sums of contributions, with the gradient that hands out an amount in proportion to them."""
    return sums * (amount / stabilized(sums.detach(), epsilon))


def gamma_rule(gamma: float, epsilon: float) -> Rule:
    """Shares in proportion to the contributions, those of the output's own sign raised by the factor 1 + `gamma`."""

    def rule(module: nn.Module, inputs: Tensor, output: Tensor) -> Tensor:
        positive = contributions(module, inputs, +1)
        raised = output + gamma * torch.where(output > 0, positive, output - positive)
        ratio = output.detach() / stabilized(raised.detach(), epsilon)
        return substitute(output, raised, lambda m: m * ratio)

    return rule


def identity(_module: nn.Module, inputs: Tensor, output: Tensor) -> Tensor:
    """Relevance passes unchanged, so m is multiplied by output over input; 0 where both are 0."""
    a = inputs.detach()
    ratio = torch.where(a == 0, 0.0, output.detach() / a)
    return substitute(output, inputs, lambda m: m * ratio)


def contributions(module: Any, inputs: Tensor, sign: int) -> Tensor:
    """The sum of the contributions of one sign (+1 or -1) to each output, that of the bias included."""
    same, opposite = (sign * (side * module.weight).clamp(min=0) for side in (sign, -sign))
    bias = None if module.bias is None else sign * (sign * module.bias).clamp(min=0)
    found = _apply(module, inputs.relu(), same, bias)
    # Behind a ReLU nothing is negative, and this half would be zero.
    if bool((inputs.detach() < 0).any()):
        found = found + _apply(module, (-inputs).relu(), opposite, None)
    return found


def stabilized(values: Tensor, epsilon: float) -> Tensor:
    """The values moved away from zero by `epsilon`."""
    return values + torch.where(values < 0, -epsilon, epsilon)


def _apply(module: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer with other weights."""
    if isinstance(module, nn.Linear):
        return functional.linear(inputs, weight, bias)
    return module._conv_forward(inputs, weight, bias)
