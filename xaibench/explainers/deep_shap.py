"""Deep SHAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.explainers import rescale
from xaibench.explainers.module_rules import reason_against
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class DeepShap(Explainer):
    """What each input value contributes to the change of the output from the background to the image, by DeepLIFT's rescale rule.

    DeepLIFT with each background image as the baseline in turn, averaged. Of a probability or log-probability, softmax is
    integrated along the straight line between the logits of the two images.

    Returns
    -------
    Attributions
        `values`: (B, T, C, H, W), output units, signed. `total`: (B, T), output at the image minus mean output over the background,
        which the values sum to up to rounding.

    References
    ----------
    Lundberg and Lee, A unified approach to interpreting model predictions, NIPS 2017 (arXiv:1705.07874), section 4.2; the rules of
    Shrikumar, Greenside and Kundaje, 2017 (arXiv:1704.02685), section 3.5.1. Differs: max-pooling has a rule of its own, complete also
    where windows overlap: the difference of the two maxima goes to the place of the larger one. shap's DeepExplainer rescales softmax
    too, whose multiplier (difference of probabilities over difference of one logit) has no bound.
    """

    family: ClassVar = Family.SHAPLEY
    paper: ClassVar = "Lundberg and Lee, 2017 (arXiv:1705.07874)"
    claims: ClassVar = frozenset({"completeness", "linearity", "sensitivity"})

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: it needs a background, and a network whose every nonlinearity has a rule."""
        if problem.model is not None and not len(problem.background):
            return "needs background images, and there are none"
        return super().unsupported(problem) or reason_against(problem.classifier, problem.images[:1], rescale.KINDS)

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each (image, background image), one backward for each target; each image and twice the background more."""
        return rescale.passes(problem, len(problem.background))

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return rescale.explained(problem, problem.background, self.output)
