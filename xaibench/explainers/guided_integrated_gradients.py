"""Guided integrated gradients."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import gradients
from xaibench.baselines import Baseline, Constant
from xaibench.component import Fraction, PositiveInt
from xaibench.explainers.completeness import baseline_difference, baseline_passes
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class GuidedIntegratedGradients(Explainer):
    """What each input value contributes to the change of the output along a path on which values with small gradients move first.

    Each (image, target) has a path of its own. A step covers an equal part of the distance (L1) from the baseline to the image: of the
    values that have not reached the band's end, the `fraction` with the smallest absolute gradients moves there, then the next
    `fraction`, until the step's distance is used up; the last ones move proportionally.

    Parameters
    ----------
    steps
        Steps of the path, each with the mean of the gradients at its ends.
    fraction
        Share of all values that move together (0: one value, and those with equal gradients).
    max_distance
        Half width of the band around the straight line, as a fraction of the way, that no value leaves; 0 is the straight line, 1 no
        bound.
    baseline
        The image where the path starts; values that equal it get exactly 0. Where an image has several, their paths are averaged.

    Returns
    -------
    Attributions
        `values`: (B, T, C, H, W), output units, signed. `total`: (B, T), output at the image minus (mean) output at the baselines,
        which the values sum to up to the error of the steps.

    References
    ----------
    Kapishnikov, Venugopalan, Avci, Wedin, Terry and Bolukbasi, Guided integrated gradients: an adaptive path method for removing noise,
    CVPR 2021 (arXiv:2106.09788), section 3. The band in place of anchor points, and the defaults, are those of the authors' code.
    Differs: there the gradient at the start of a step counts for all of it. The path turns at the very points where the gradient of a
    network of ReLUs jumps, so that an error remains however small the steps; it is smaller with the mean of both ends.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Kapishnikov et al., 2021 (arXiv:2106.09788)"
    claims: ClassVar = frozenset({"completeness", "dummy", "implementation invariance"})

    steps: PositiveInt = 200
    fraction: Fraction = 0.25
    max_distance: Fraction = 0.02
    baseline: Baseline = Constant()

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        return super().unsupported(problem) or self.baseline.unsupported(problem)

    def passes(self, problem: Problem) -> Passes:
        """`steps` + 1 passes forward and back for each (image, target, baseline), and one forward for each image and baseline."""
        paths = problem.targets.numel() * self.baseline.draws(problem) * (self.steps + 1)
        return Passes(paths, paths) + baseline_passes(problem, self.baseline)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        draws, targets = self.baseline.draws(problem), problem.targets.shape[1]
        paths = torch.arange(problem.targets.numel() * draws, device=problem.images.device)
        found = [self._walk(problem, rng, path // draws, path % draws) for path in paths.split(problem.chunk)]
        values = torch.cat(found).unflatten(0, (-1, targets, draws)).mean(2)
        return Attributions(values, baseline_difference(problem, rng, self.baseline, self.output))

    def _walk(self, problem: Problem, rng: Rng, pair: Tensor, draw: Tensor) -> Tensor:
        """(n, C, H, W): the attributions of n paths, of (image, target) pairs and draws of their baselines."""
        row, target = pair // problem.targets.shape[1], pair % problem.targets.shape[1]
        start = self.baseline(problem, rng, row, draw)
        change = problem.images[row] - start
        copies = dataclasses.replace(problem.take(row), targets=problem.targets[row, target, None])

        def slopes(place: Tensor) -> Tensor:
            here = dataclasses.replace(copies, images=torch.addcmul(start, place, change))
            return gradients.gradient(here, self.output)[:, 0]

        # How far each value has come, from 0 at the baseline to 1 at the image.
        place, average = torch.zeros_like(change), torch.zeros_like(change)
        slope = slopes(place)
        for step in range(self.steps):
            moved = self._moved(place.flatten(1), slope.flatten(1).abs(), change.flatten(1).abs(), step).reshape(place.shape)
            before, slope = slope, slopes(moved)
            average += (before + slope) / 2 * (moved - place)
            place = moved
        return average * change

    def _moved(self, place: Tensor, slope: Tensor, length: Tensor, step: int) -> Tensor:
        """(n, values): how far each value has come after a step; `length` is its whole way."""
        progress, size = (step + 1) / self.steps, place.shape[1]
        end = place.new_tensor(min(progress + self.max_distance, 1.0))
        place = place.clamp(min=max(progress - self.max_distance, 0.0))
        left = (length * (progress - place)).sum(1, keepdim=True).clamp(min=0.0)
        order = torch.where((place < end) & (length > 0), slope, torch.inf)
        group = math.floor(self.fraction * (size - 1)) + 1
        for _ in range(math.ceil(size / group)):
            chosen = (order <= order.kthvalue(group, keepdim=True).values) & order.isfinite()
            reach = (length * (end - place) * chosen).sum(1, keepdim=True)
            share = torch.where(reach > 0, left / reach, 0.0).clamp(max=1.0)
            place = torch.lerp(place, end, share * chosen)
            left = (left - reach).clamp(min=0.0)
            if not left.any():
                break
            order = order.masked_fill(chosen, torch.inf)
        return place
