"""The blurred-random control."""

from __future__ import annotations

from dataclasses import dataclass

from xaibench.baselines import blurred
from xaibench.component import PositiveFloat
from xaibench.explainers.control import Control
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class BlurredRandom(Control):
    """Random relevance that is as smooth as an upsampled class activation map: a control that ignores the classifier and the image.

    Metrics that reward smooth maps reward this one too; white noise does not show that.

    Parameters
    ----------
    sigma
        Standard deviation of the Gaussian blur, as a fraction of the image's longer side.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), in (0, 1), mean 1/2: uniform noise, blurred (`removal.Blur`: what lies beyond the border has no weight, so the
        map varies more there). Independent over images and targets; the same for an (image, target) whichever other targets are
        asked for.
    """

    sigma: PositiveFloat = 0.1

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        (batch, targets), size = problem.targets.shape, problem.images.shape[-2:]
        each = rng.each(problem.index.repeat_interleave(targets), problem.targets.flatten())
        smooth = blurred(each.uniform(1, *size), self.sigma * max(size), problem)
        return Attributions(smooth.unflatten(0, (batch, targets)))
