"""LRP, the epsilon-plus composite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench import gradients
from xaibench.component import PositiveFloat
from xaibench.explainers import relevance
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class LrpEpsilonPlus(Explainer):
    """How the target's logit is shared out among the input values, layer by layer, along positive contributions in convolutions.

    Layer-wise relevance propagation with the z+ rule (alpha 1, beta 0) on convolutions, the first one included, and the epsilon
    rule on dense layers. Biases take their share; batch normalization is a linear layer of its own, by LRP-0 as all other linear
    operations; the winner takes all in max-pooling; activations pass relevance unchanged.

    Parameters
    ----------
    epsilon
        Moves sums of contributions away from zero. Where it is small beside them, LRP-epsilon on the dense layers is LRP-0.

    Returns
    -------
    Attributions
        (B, T, C, H, W), output units, signed; exactly 0 wherever the image is 0. No completeness: biases keep what they receive;
        without biases, and with inputs behind ReLU, the relevance sums to the logit.

    References
    ----------
    Bach, Binder, Montavon, Klauschen, Müller and Samek, On pixel-wise explanations for non-linear classifier decisions by layer-wise
    relevance propagation, PLOS ONE 2015, eqs. 58 and 60.
    Differs: z+ also on the first layer, where the overview of Montavon et al. (2019, section 10.3) has the zB rule for pixels.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Bach et al., 2015 (doi:10.1371/journal.pone.0130140)"
    claims: ClassVar = frozenset({"linearity"})

    epsilon: PositiveFloat = 1e-6

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: it needs a convolution, and a rule for whatever is neither linear nor ReLU."""
        return super().unsupported(problem) or relevance.reason_against_relevance(problem, self.output)

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image, and one backward pass for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return relevance.propagated(problem, relevance.alpha_beta_rule(1.0, 0.0, self.epsilon), relevance.epsilon_rule(self.epsilon))
