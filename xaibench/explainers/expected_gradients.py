"""Expected gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench import gradients
from xaibench.adapters import shap as shap_adapter
from xaibench.component import PositiveInt
from xaibench.explainers.completeness import difference_passes, output_difference
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class ExpectedGradients(Explainer):
    """What each input value contributes to the change of the output from the background to the image, along random straight lines.

    shap's GradientExplainer, image by image, seeded by the image's position in the test set.

    Parameters
    ----------
    samples
        Draws of a background image and of a position on the line to it, for each image; all targets see the same ones.

    Returns
    -------
    Attributions
        `values`: (B, T, C, H, W), output units, signed. `total`: (B, T), output at the image minus mean output over the background,
        which the values sum to in expectation: the error falls with the square root of `samples`.

    References
    ----------
    Erion, Janizek, Sturmfels, Lundberg and Lee, Improving performance of deep learning models with axiomatic attribution priors and
    expected gradients, 2021 (arXiv:1906.10670), eq. 3.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Erion et al., 2021 (arXiv:1906.10670)"
    claims: ClassVar = frozenset({"completeness", "implementation invariance", "linearity"})

    samples: PositiveInt = 200

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        return super().unsupported(problem) or shap_adapter.without_background(problem)

    def passes(self, problem: Problem) -> Passes:
        """`samples` forward and backward passes for each (image, target), one for each image, and two for each background image."""
        background = len(problem.background)
        probe = Passes(forward=background)
        return gradients.gradient_passes(problem, self.samples) + probe + difference_passes(problem, background)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        seeds = rng.each(problem.index).integers(2**32).tolist()
        values = shap_adapter.expected_gradients(problem, self.output, self.samples, seeds)
        return Attributions(values, output_difference(problem, problem.background, self.output))
