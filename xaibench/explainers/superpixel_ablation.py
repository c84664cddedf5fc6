"""Superpixel ablation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xaibench.explainers import coalitions
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.removal import Constant, Removal
from xaibench.seeding import Rng
from xaibench.superpixels import Squares, Superpixels


@dataclass(frozen=True)
class SuperpixelAblation(Explainer):
    """By how much the explained output drops when a pixel's superpixel alone is removed.

    Parameters
    ----------
    superpixels
        How images are divided.
    removal
        What a removed pixel becomes.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), output units, signed: every pixel has the whole drop of its superpixel, positive where removing lowers the output.
        No completeness: what two superpixels do together is in neither drop, or in both.

    References
    ----------
    Robnik-Sikonja and Kononenko, Explaining classifications for individual instances, TKDE 20 (5), 2008 (difference of predictions).
    Differs: features are superpixels; an absent one is replaced, not averaged over its values, unless `removal` is `Marginal`.
    """

    family: ClassVar = Family.PERTURBATION
    paper: ClassVar = "Robnik-Sikonja and Kononenko, 2008"
    claims: ClassVar = frozenset({"dummy", "implementation invariance", "linearity", "sensitivity", "symmetry"})

    superpixels: Superpixels = Squares()
    removal: Removal = Constant()

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        return super().unsupported(problem) or coalitions.unsupported(problem, self.removal)

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image, each of its superpixels and each draw of the removal; all targets share them."""
        return coalitions.passes(problem, self.superpixels, self.removal, lambda count: count + 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        parts = coalitions.changing(problem, self.superpixels, self.removal)
        maps = []
        for part in parts:
            everything = torch.ones(1, part.count, dtype=torch.bool)
            outputs = coalitions.values(part, self.removal, torch.cat([everything, ~torch.eye(part.count, dtype=torch.bool)]), self.output)
            drops = outputs[..., :1] - outputs[..., 1:]
            drops = drops if part.changed is None else drops * part.changed[:, None]
            maps.append(coalitions.spread(drops, part.regions, equally=False))
        return Attributions(coalitions.merged(maps, parts))
