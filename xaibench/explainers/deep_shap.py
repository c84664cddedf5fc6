"""Deep SHAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from xaibench.adapters import shap as shap_adapter
from xaibench.explainers.completeness import difference_passes, output_difference
from xaibench.explainers.module_rules import reason_against
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class DeepShap(Explainer):
    """What each input value contributes to the change of the output from the background to the image, by DeepLIFT's rescale rule.

    shap's DeepExplainer, image by image, averaged over all background images. Softmax (`output="probability"`) follows the
    rescale rule too, so only the target's own logit counts there.

    Returns
    -------
    Attributions
        `values`: (B, T, C, H, W), output units, signed. `total`: (B, T), output at the image minus mean output over the background,
        which the values sum to up to rounding.

    References
    ----------
    Lundberg and Lee, A unified approach to interpreting model predictions, NIPS 2017 (arXiv:1705.07874), section 4.2; the rules of
    Shrikumar, Greenside and Kundaje, 2017 (arXiv:1704.02685), section 3.5.1.
    """

    family: ClassVar = Family.SHAPLEY
    paper: ClassVar = "Lundberg and Lee, 2017 (arXiv:1705.07874)"
    claims: ClassVar = frozenset({"completeness"})

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: it needs a background, and a network whose every nonlinearity has a rule."""
        reason = super().unsupported(problem) or shap_adapter.without_background(problem)
        if reason is None and self.output == "log_probability":
            reason = "shap's DeepExplainer has no rule for LogSoftmax; explain the logit or the probability"
        if reason is not None:
            return reason
        for name, module in problem.classifier.named_modules():
            if isinstance(module, nn.MaxPool2d) and _overlaps(module):
                return f"max-pooling {name!r} has overlapping windows, for which shap's DeepExplainer does not add up"
        return reason_against(problem.classifier, problem.images[:1], shap_adapter.RULES)

    def passes(self, problem: Problem) -> Passes:
        """Twice the background, forward and backward, for each (image, target); forward twice the background more, and each image."""
        background = len(problem.background)
        pairs = 2 * background * problem.targets.numel()
        return Passes(pairs, pairs) + Passes(forward=background) + difference_passes(problem, background)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        values = shap_adapter.deep_shap(problem, self.output)
        return Attributions(values, output_difference(problem, problem.background, self.output))


def _overlaps(pooling: nn.MaxPool2d) -> bool:
    window, step = (torch.tensor(size).expand(2) for size in (pooling.kernel_size, pooling.stride))
    return bool((window > step).any())
