"""The raw-input control."""

from __future__ import annotations

from dataclasses import dataclass

from xaibench.component import Fraction
from xaibench.explainers.control import Control
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class RawInput(Control):
    """The image itself as its explanation, brighter is more relevant: a control that ignores the classifier.

    Parameters
    ----------
    center
        The intensity that has no relevance.

    Returns
    -------
    Attributions
        (B, T, C, H, W), intensities in [0, 1] less `center`; the same for every target.
    """

    center: Fraction = 0.0

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return Attributions((problem.images - self.center)[:, None].repeat(1, problem.targets.shape[1], 1, 1, 1))
