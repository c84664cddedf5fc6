"""LRP, the alpha2-beta1 composite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.explainers import relevance
from xaibench.explainers.backward_rules import Rule


@dataclass(frozen=True)
class LrpAlpha2Beta1(relevance.Composite):
    """How the target's logit is shared out among the input values, twice along positive contributions, less once along negative.

    Layer-wise relevance propagation with the alpha-beta rule (alpha 2, beta 1) on convolutions, the first one included, and the epsilon
    rule on dense layers. Biases take their share; batch normalization is a linear layer of its own, by LRP-0 as all other linear
    operations; the winner takes all in max-pooling; activations pass relevance unchanged.

    Returns
    -------
    Attributions
        (B, T, C, H, W), output units, signed; exactly 0 wherever the image is 0. No completeness: biases keep what they receive, and a sum
        without negative contributions doubles its relevance.

    References
    ----------
    Bach, Binder, Montavon, Klauschen, Müller and Samek, On pixel-wise explanations for non-linear classifier decisions by layer-wise
    relevance propagation, PLOS ONE 2015, eqs. 58 and 60.
    Differs: the same rule on the first layer.
    """

    paper: ClassVar = "Bach et al., 2015 (doi:10.1371/journal.pone.0130140)"

    def convolution_rule(self) -> Rule:
        """See `Composite`."""
        return relevance.alpha_beta_rule(2.0, 1.0, self.epsilon)
