"""LRP, the gamma composite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench import gradients
from xaibench.component import PositiveFloat
from xaibench.explainers import relevance
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class LrpGamma(Explainer):
    """How the target's logit is shared out among the input values, layer by layer, in convolutions with positive contributions favored.

    Layer-wise relevance propagation with the gamma rule on convolutions, the first one included, and the epsilon
    rule on dense layers. Biases take their share; batch normalization is a linear layer of its own, by LRP-0 as all other linear
    operations; the winner takes all in max-pooling; activations pass relevance unchanged.

    Parameters
    ----------
    gamma
        How much contributions of the output's own sign are favored; 0 gives LRP-0, infinity the z+ rule.
    epsilon
        Moves sums of contributions away from zero. Where it is small beside them, LRP-epsilon on the dense layers is LRP-0.

    Returns
    -------
    Attributions
        (B, T, C, H, W), output units, signed; exactly 0 wherever the image is 0. No completeness: biases keep what they receive.

    References
    ----------
    Montavon, Binder, Lapuschkin, Samek and Müller, Layer-wise relevance propagation: an overview, 2019 (in Explainable AI, LNCS 11700),
    section 10.2.1. Differs: that rule is stated for inputs and outputs that are not negative; contributions of the output's own sign are
    favored elsewhere, so that a sum never comes closer to zero. The same rule on the first layer.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Montavon et al., 2019 (doi:10.1007/978-3-030-28954-6_10)"
    claims: ClassVar = frozenset({"linearity"})

    gamma: PositiveFloat = 0.25
    epsilon: PositiveFloat = 1e-6

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: it needs a convolution, and a rule for whatever is neither linear nor ReLU."""
        return super().unsupported(problem) or relevance.reason_against_relevance(problem, self.output)

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image, and one backward pass for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return relevance.propagated(problem, relevance.gamma_rule(self.gamma, self.epsilon), relevance.epsilon_rule(self.epsilon))
