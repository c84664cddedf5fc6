"""Smooth model parameter randomization test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import PositiveFloat, PositiveInt
from xaibench.metrics import reexplanation
from xaibench.metrics.randomization import LayerRandomization, Order, times
from xaibench.metrics.reexplanation import Copies
from xaibench.problem import Explainer, Explanation, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class SmoothMprt(LayerRandomization):
    """How alike the map, averaged over noisy copies of the image, stays when the classifier's layers get random parameters.

    As `Mprt`, but noise in the maps, which lowers the similarity of any two of them, is averaged out first: of the classifier's and of the
    randomized one's maps, over the same copies. Fields: see also `LayerRandomization` and `Comparison`.

    Parameters
    ----------
    order
        As in `LayerRandomization`; by default from the image on, as the paper recommends.
    samples
        Noisy copies of each image.
    noise
        Standard deviation of the Gaussian noise, as a fraction of the image's own range (maximum minus minimum), drawn for each image
        independently. Copies are not clipped.

    Returns
    -------
    Scores
        `layer_<k>_<module>`: (B, T), in [-1, 1], similarity of the mean maps before and after the step that ends with this layer, layer 1
        next to the image; `value`: their mean over all layers. Lower is better. NaN where a mean map is constant (over the pixels that
        are compared), or a map, the one that is scored among them, holds a NaN or an infinite value; `value` is NaN where one of the
        layers is.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, the explanation cannot explain again, or a layer cannot be
        initialized again.

    References
    ----------
    Hedstroem, Weber, Lapuschkin and Hoehne, Sanity checks revisited, 2024 (arXiv:2401.06465), section on smooth MPRT. Differs: 10 copies
    by default where the paper takes more.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Hedstroem et al., 2024 (arXiv:2401.06465)"

    order: Order = "bottom_up"
    samples: PositiveInt = 10
    noise: PositiveFloat = 0.1

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """Those of the explainer on all copies, for the classifier and each layer and randomization, and one forward pass."""
        once = reexplanation.passes(problem, explainer, self.samples)
        return times(1 + self.explained(problem), once) + Passes(forward=1)

    def original(self, problem: Problem, explanation: Explanation, rng: Rng) -> Tensor:
        """(B, T, C or 1, H, W): the classifier's mean maps; NaN where the map that is scored is not finite."""
        found = self.again(problem, explanation, rng)
        return found.masked_fill(~explanation.values.isfinite().all((2, 3, 4), keepdim=True), torch.nan)

    def again(self, problem: Problem, explanation: Explanation, rng: Rng) -> Tensor:
        """(B, T, C or 1, H, W): a classifier's mean maps."""
        images = problem.images
        deviation = self.noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))

        def noisy(rows: Tensor, samples: Tensor) -> Tensor:
            return images[rows] + deviation[rows] * rng.each(problem.index[rows], samples).normal(*images.shape[1:])

        def mean(copies: Copies) -> Tensor:
            return copies.values.mean(1)

        return reexplanation.scores(problem, explanation, self.samples, noisy, mean)
