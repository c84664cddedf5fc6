"""DeepLIFT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xaibench.explainers import rescale
from xaibench.explainers.module_rules import reason_against
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class DeepLift(Explainer):
    """What each input value contributes to the change of the output from a constant baseline to the image, by the rescale rule.

    Parameters
    ----------
    baseline
        Intensity of every value of the baseline image; pixels that equal it get exactly 0.

    Returns
    -------
    Attributions
        `values`: (B, T, C, H, W), output units, signed. `total`: (B, T), output at the image minus output at the baseline,
        which the values sum to up to rounding.

    References
    ----------
    Shrikumar, Greenside and Kundaje, Learning important features through propagating activation differences, ICML 2017
    (arXiv:1704.02685), sections 3.3, 3.5.1. Differs: max-pooling has a rule of its own, complete also where windows overlap: the
    difference of the two maxima goes to the place of the larger one. With `output` other than `logit`, softmax is
    integrated along the straight line between the logits: the rescale rule has no bound there.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Shrikumar et al., 2017 (arXiv:1704.02685)"
    claims: ClassVar = frozenset({"completeness", "linearity", "sensitivity"})

    baseline: float = 0.0

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: it needs a network whose every nonlinearity has a rule."""
        return super().unsupported(problem) or reason_against(problem.classifier, problem.images[:1], rescale.KINDS)

    def passes(self, problem: Problem) -> Passes:
        """Two forward passes for each image, one backward for each (image, target), and two forward for the baseline."""
        return rescale.passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return rescale.explained(problem, torch.full_like(problem.images[:1], self.baseline), self.output)
