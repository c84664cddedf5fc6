"""Expected gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import gradients
from xaibench.baselines import without_background
from xaibench.component import PositiveInt
from xaibench.explainers.completeness import difference_passes, output_difference
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class ExpectedGradients(Explainer):
    """What each input value contributes to the change of the output from the background to the image, along random straight lines.

    Parameters
    ----------
    samples
        Draws of a background image and of a position on the line to it, for each image; all its targets see the same ones.

    Returns
    -------
    Attributions
        `values`: (B, T, C, H, W), output units, signed. `total`: (B, T), output at the image minus mean output over the background,
        which the values sum to in expectation: the error falls at least with the square root of `samples`.

    References
    ----------
    Erion, Janizek, Sturmfels, Lundberg and Lee, Improving performance of deep learning models with axiomatic attribution priors and
    expected gradients, 2021 (arXiv:1906.10670), eq. 3. Differs: the draws are stratified, which leaves the expectation as it is. Each
    of `samples` equal parts of the line has one position, and every background image is drawn once before any is drawn again.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Erion et al., 2021 (arXiv:1906.10670)"
    claims: ClassVar = frozenset({"completeness", "dummy", "implementation invariance", "linearity"})

    samples: PositiveInt = 200

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        return super().unsupported(problem) or without_background(problem)

    def passes(self, problem: Problem) -> Passes:
        """`samples` passes forward for each image, and back for each target; one forward for each image and background image."""
        return gradients.gradient_passes(problem, self.samples) + difference_passes(problem, len(problem.background))

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images, background = problem.images, problem.background
        starts, positions = self._draws(problem, rng)

        def on_a_line(row: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
            start, position = background[starts[row, sample]], positions[row, sample, None, None, None]
            change = images[row].sub_(start)
            return torch.addcmul(start, position, change), change.div_(self.samples)

        values = gradients.summed_gradients(problem, self.samples, on_a_line, self.output)
        return Attributions(values, output_difference(problem, background, self.output))

    def _draws(self, problem: Problem, rng: Rng) -> tuple[Tensor, Tensor]:
        """(B, samples) background images, and (B, samples) positions between them (0) and the images (1)."""
        batch, size = len(problem.images), len(problem.background)
        rounds = -(-self.samples // size)
        turn = torch.arange(rounds, device=problem.index.device).repeat(batch)
        starts = rng.each(problem.index.repeat_interleave(rounds), turn).permutation(size).reshape(batch, -1)[:, : self.samples]
        within = rng.each(problem.index, rounds).uniform(self.samples)
        # A round's images come in random order, so the order of the positions need not be random.
        return starts, (torch.arange(self.samples, device=within.device) + within) / self.samples
