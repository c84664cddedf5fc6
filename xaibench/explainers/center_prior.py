"""The center-prior control."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.component import PositiveFloat
from xaibench.explainers.control import Control
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class CenterPrior(Control):
    """The nearer to the center the more relevant: a control that ignores the classifier and the image.

    Objects tend to lie in the center, so a map that finds them need not know anything of the classifier.

    Parameters
    ----------
    sigma
        Standard deviation of the Gaussian, as a fraction of the image's side: of its height vertically, of its width horizontally.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), in (0, 1]: a Gaussian of the pixel's distance from the image's center, where it is 1.
    """

    sigma: PositiveFloat = 0.25

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images = problem.images
        vertical, horizontal = (self._profile(size, images) for size in images.shape[-2:])
        return Attributions((vertical[:, None] * horizontal).repeat(*problem.targets.shape, 1, 1, 1))

    def _profile(self, size: int, like: Tensor) -> Tensor:
        """(size,): the Gaussian along one side."""
        place = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size - 0.5
        return torch.exp(-0.5 * (place / self.sigma) ** 2)
