"""LRP, the epsilon-plus composite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.explainers import relevance
from xaibench.explainers.backward_rules import Rule


@dataclass(frozen=True)
class LrpEpsilonPlus(relevance.Composite):
    """How the target's logit is shared out among the input values, layer by layer, along positive contributions in convolutions.

    Layer-wise relevance propagation with the z+ rule (alpha 1, beta 0) on convolutions, the first one included, and the epsilon
    rule on dense layers. Biases take their share; batch normalization is a linear layer of its own, by LRP-0 as all other linear
    operations; the winner takes all in max-pooling; activations pass relevance unchanged.

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

    paper: ClassVar = "Bach et al., 2015 (doi:10.1371/journal.pone.0130140)"

    def convolution_rule(self) -> Rule:
        """See `Composite`."""
        return relevance.alpha_beta_rule(1.0, 0.0, self.epsilon)
