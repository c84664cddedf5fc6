"""Guided Grad-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.guided_backpropagation import GuidedBackpropagation
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class GuidedGradCam(Explainer):
    """Which input values raise the explained output, where the class is located: guided backpropagation x upsampled Grad-CAM.

    Parameters
    ----------
    layer
        See `GradCam`.

    Returns
    -------
    Attributions
        (B, T, C, H, W), signed as guided backpropagation is; exactly 0 wherever Grad-CAM is. No completeness.

    References
    ----------
    Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, Grad-CAM, ICCV 2017 (arXiv:1610.02391), the section on Guided Grad-CAM. Both
    factors deviate as they say themselves.
    """

    family: ClassVar = Family.ACTIVATION
    paper: ClassVar = "Selvaraju et al., 2017 (arXiv:1610.02391)"

    layer: str | None = None

    def _factors(self) -> tuple[Explainer, Explainer]:
        return GuidedBackpropagation(output=self.output), GradCam(output=self.output, layer=self.layer)

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: what either factor needs."""
        guided, located = self._factors()
        return located.unsupported(problem) or guided.unsupported(problem)

    def passes(self, problem: Problem) -> Passes:
        """The passes of both factors."""
        guided, located = self._factors()
        return guided.passes(problem) + located.passes(problem)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        guided, located = self._factors()
        return Attributions(guided(problem, rng).values * located(problem, rng).values)
