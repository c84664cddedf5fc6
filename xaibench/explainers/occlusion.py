"""Occlusion by a sliding square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.component import ConfigurationError, PositiveInt
from xaibench.explainers import coalitions
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.removal import Constant, Removal
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Occlusion(Explainer):
    """By how much the explained output drops when the square windows that cover a pixel are removed, on average over them.

    Parameters
    ----------
    patch
        Side of the window, cut to the image's.
    stride
        Distance between windows, at most `patch`. Where it does not divide the image a last window ends at the edge, so every pixel
        is covered.
    removal
        What an occluded pixel becomes.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), output units, signed: positive where removing lowers the output. No completeness, but for windows of one pixel
        on a linear classifier.

    Raises
    ------
    ConfigurationError
        If `stride` is above `patch`.

    References
    ----------
    Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014 (arXiv:1311.2901), section 4.2. Differs: drops
    are averaged over the windows of a pixel; pixels become black, where the paper's become gray.
    """

    family: ClassVar = Family.PERTURBATION
    paper: ClassVar = "Zeiler and Fergus, 2014 (arXiv:1311.2901)"
    claims: ClassVar = frozenset({"implementation invariance", "linearity", "sensitivity"})

    patch: PositiveInt = 4
    stride: PositiveInt = 2
    removal: Removal = Constant()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride > self.patch:
            raise ConfigurationError(f"Occlusion.stride={self.stride}: expected at most patch={self.patch}, or some pixels are not covered")

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        return super().unsupported(problem) or coalitions.unsupported(problem, self.removal)

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image, each of its windows and each draw of the removal; all targets share them."""
        rows, columns = (len(self._starts(size)) for size in problem.images.shape[-2:])
        return Passes(forward=len(problem.images) * (1 + rows * columns) * self.removal.draws(problem))

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images, draws = problem.images, self.removal.draws(problem)
        rows, columns = (self._windows(size, images.device) for size in images.shape[-2:])
        # A window that has no rows comes last: it shows the whole image. A mask for each window would not fit in memory for large images.
        above, beside = torch.cat([~rows, torch.ones_like(rows[:1])]), ~columns

        def alter(row: Tensor, sample: Tensor) -> Tensor:
            window = sample // draws - 1
            kept = above[window // len(columns), None, :, None] | beside[window % len(columns), None, None]
            return self.removal(images.index_select(0, row), kept, problem, sample % draws)

        outputs = perturb.values(problem, 1 + len(rows) * len(columns), alter, self.output, draws)
        drops = (outputs[..., :1] - outputs[..., 1:]).unflatten(2, (len(rows), len(columns)))
        vertical, horizontal = rows.to(drops), columns.to(drops)
        covered = vertical.sum(0)[:, None] * horizontal.sum(0)
        return Attributions((vertical.T @ drops @ horizontal / covered)[:, :, None])

    def _starts(self, size: int) -> list[int]:
        last = max(size - self.patch, 0)
        return sorted({*range(0, last + 1, self.stride), last})

    def _windows(self, size: int, device: torch.device) -> Tensor:
        """(windows, size), bool: what each window covers along one axis."""
        starts = torch.tensor(self._starts(size), device=device)[:, None]
        position = torch.arange(size, device=device)
        return (position >= starts) & (position < starts + self.patch)
