"""Occlusion by a sliding square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.component import ConfigurationError, PositiveInt
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem, select
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Occlusion(Explainer):
    """By how much the explained output drops when the square windows that cover a pixel become constant, on average over them.

    Parameters
    ----------
    patch
        Side of the window, cut to the image's.
    stride
        Distance between windows, at most `patch`. Where it does not divide the image a last window ends at the edge, so every pixel
        is covered.
    baseline
        Intensity of an occluded pixel, in all channels.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), output units, signed. No completeness, but for windows of one pixel on a linear classifier.

    Raises
    ------
    ConfigurationError
        If `stride` is above `patch`.

    References
    ----------
    Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014 (arXiv:1311.2901), section 4.2. Differs: drops
    are averaged over the windows of a pixel.
    """

    family: ClassVar = Family.PERTURBATION
    paper: ClassVar = "Zeiler and Fergus, 2014 (arXiv:1311.2901)"
    claims: ClassVar = frozenset({"implementation invariance", "linearity"})

    patch: PositiveInt = 4
    stride: PositiveInt = 2
    baseline: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride > self.patch:
            raise ConfigurationError(f"Occlusion.stride={self.stride}: expected at most patch={self.patch}, or some pixels are not covered")

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image, and one for each of its windows; all targets share them."""
        rows, columns = (len(self._starts(size)) for size in problem.images.shape[-2:])
        return Passes(forward=len(problem.images) * (1 + rows * columns))

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images = problem.images
        rows, columns = (self._windows(size, images.device) for size in images.shape[-2:])
        windows = len(rows) * len(columns)
        # Window 0 hides nothing: the image itself.
        every = 1 + windows

        def make(position: Tensor) -> Tensor:
            row, window = position // every, position % every
            hidden = rows[(window - 1) // len(columns)][:, :, None] & columns[(window - 1) % len(columns)][:, None, :]
            hidden &= (window > 0)[:, None, None]
            return images[row].masked_fill(hidden[:, None], self.baseline)

        logits = perturb.logits(problem, len(images) * every, make)
        outputs = select(logits, problem.targets.repeat_interleave(every, 0), self.output).unflatten(0, (-1, every))
        drops = (outputs[:, :1] - outputs[:, 1:]).unflatten(1, (len(rows), len(columns)))
        vertical, horizontal = rows.to(drops), columns.to(drops)
        covered = vertical.sum(0)[:, None] * horizontal.sum(0)
        summed = torch.einsum("brct,rh,cw->bthw", drops, vertical, horizontal)
        return Attributions((summed / covered)[:, :, None])

    def _starts(self, size: int) -> list[int]:
        last = max(size - self.patch, 0)
        return sorted({*range(0, last + 1, self.stride), last})

    def _windows(self, size: int, device: torch.device) -> Tensor:
        """(windows, size), bool: what each window covers along one axis."""
        starts = torch.tensor(self._starts(size), device=device)[:, None]
        position = torch.arange(size, device=device)
        return (position >= starts) & (position < starts + self.patch)
