"""LRP, the gamma composite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.component import PositiveFloat
from xaibench.explainers import relevance
from xaibench.explainers.backward_rules import Rule


@dataclass(frozen=True)
class LrpGamma(relevance.Composite):
    """How the target's logit is shared out among the input values, layer by layer, in convolutions with positive contributions favored.

    Layer-wise relevance propagation with the gamma rule on convolutions, the first one included, and the epsilon
    rule on dense layers. Biases take their share; batch normalization is a linear layer of its own, by LRP-0 as all other linear
    operations; the winner takes all in max-pooling; activations pass relevance unchanged.

    Parameters
    ----------
    gamma
        How much contributions of the output's own sign are favored; 0 gives LRP-0, infinity the z+ rule.

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

    paper: ClassVar = "Montavon et al., 2019 (doi:10.1007/978-3-030-28954-6_10)"

    gamma: PositiveFloat = 0.25

    def convolution_rule(self) -> Rule:
        """See `Composite`."""
        return relevance.gamma_rule(self.gamma, self.epsilon)
