"""Explanation continuity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xaibench.component import PositiveInt
from xaibench.metrics.reexplanation import Copies
from xaibench.metrics.robustness import Robustness, largest, length, norm
from xaibench.perturb import Alter
from xaibench.problem import Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Continuity(Robustness):
    """How abruptly the relevance changes, at the most, when the image is shifted by a few pixels.

    The largest |R(x) - R(x')|_1 / |x - x'|_2 over all images x' that are x shifted by up to `distance` pixels along each axis, R the
    signed attributions of the image's target. Nothing is drawn. It grows with the scale of the attributions, and with the number of pixels
    (L1 above, L2 below).

    Parameters
    ----------
    distance
        Largest shift in pixels, horizontally and vertically: (2 distance + 1)^2 - 1 shifted copies.
    fill
        What enters at the border: the pixels at the edge, repeated, or 0. On a black background both are the same.

    Returns
    -------
    Scores
        `value`: (B, T), 0 or more, units of attribution per unit of intensity; lower is better. Shifts that leave the image as it is do
        not count; NaN if all do, and where the image's map, or that of a copy that counts, holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or the explanation cannot explain again.

    References
    ----------
    Montavon, Samek and Mueller, Methods for interpreting and understanding deep neural networks, Digital Signal Processing 2018
    (arXiv:1706.07979), section 7.1. Differs: the paper takes the largest ratio over the data's domain, and shows it for a digit that is
    moved across the image; here over small shifts of the image.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Montavon et al., 2018 (arXiv:1706.07979)"

    distance: PositiveInt = 1
    fill: Literal["edge", "zero"] = "edge"

    @property
    def copies(self) -> int:
        """Copies of each image."""
        return (2 * self.distance + 1) ** 2 - 1

    def alter(self, problem: Problem, rng: Rng) -> Alter:
        """Shifts."""
        (height, width), side = problem.images.shape[2:], 2 * self.distance + 1
        padded = functional.pad(problem.images, (self.distance,) * 4, mode="replicate" if self.fill == "edge" else "constant")
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)

        def shifted(rows: Tensor, samples: Tensor) -> Tensor:
            place = samples + (samples >= self.copies // 2)  # the one in the middle is the image itself
            return windows[rows, :, torch.div(place, side, rounding_mode="floor"), place % side]

        return shifted

    def score(self, problem: Problem, copies: Copies) -> Tensor:
        """(n, T): the largest ratio."""
        moved = length(copies.images - problem.images[copies.rows][:, None])
        return largest(norm(copies.values - copies.original, 1) / moved, moved[..., 0] > 0)
