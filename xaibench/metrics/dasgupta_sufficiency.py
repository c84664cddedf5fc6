"""Sufficiency in the sense of Dasgupta et al."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import NonNegativeFloat
from xaibench.metrics.set_level import SetLevelMetric, predicted, share
from xaibench.problem import Explanation, Family, Problem
from xaibench.scoring import Scores
from xaibench.seeding import Rng

BLOCK_PAIRS = 2**22
"""Distances that are held at once."""


@dataclass(frozen=True)
class DasguptaSufficiency(SetLevelMetric):
    """Chance that another image to which the explanation applies is predicted to be of the same class.

    It applies to images whose own explanation is similar: regions' relevance, scaled to Euclidean length 1, not farther than `distance`.
    Signs count, the scale of a map does not. Explanations of an image's first target are compared with those of other images' first
    targets, and so on. An explanation that is the same for all images has the frequency of the class. Other fields: see `SetLevelMetric`.

    Parameters
    ----------
    distance
        Largest Euclidean distance: 0 asks for the same direction, sqrt(2) for any that is not opposed, and 2 takes all maps.

    Returns
    -------
    Scores
        `value`: (B, T), the share among all such other images, in [0, 1]; higher is better. `others`: how many there are. NaN where there
        is no other, or the map holds a NaN or an infinite value; such a map is nobody's other. A map that is 0 everywhere is similar to
        its like, and at distance 1 of all others.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Dasgupta, Frost and Moshkovitz, Framework for evaluating faithfulness of local explanations, ICML 2022 (arXiv:2202.00734): sufficiency,
    estimated with every other image. Differs: to which images an explanation applies, which the paper leaves to the method, is chosen here.
    """

    family: ClassVar[Family] = Family.FAITHFULNESS
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Dasgupta et al., 2022 (arXiv:2202.00734)"

    distance: NonNegativeFloat = 0.6

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        values = self.regional(problem, explanation).transpose(0, 1)
        defined, classes = values.isfinite().all(dim=2), predicted(problem)
        length = values.norm(dim=2, keepdim=True)
        maps = torch.where(length > 0, values / length, 0.0)
        others, agreeing = (torch.zeros(defined.shape, dtype=torch.int64, device=maps.device) for _ in range(2))
        images = torch.arange(len(classes), device=maps.device)
        for rows in images.split(max(1, BLOCK_PAIRS // maps.shape[:2].numel())):
            near = self._near(maps[:, rows], maps) & defined[:, rows, None] & defined[:, None] & (rows[:, None] != images)
            others[:, rows] = near.sum(dim=2)
            agreeing[:, rows] = (near & (classes[rows, None] == classes)).sum(dim=2)
        counted = torch.where(defined, others.to(torch.float32), torch.nan)
        return Scores({"value": share(agreeing, others).T, "others": counted.T})

    def _near(self, some: Tensor, maps: Tensor) -> Tensor:
        """(T, n, B), bool, of (T, n, R) and (T, B, R)."""
        apart = torch.cdist(some, maps, compute_mode="donot_use_mm_for_euclid_dist")
        # the lengths are 1 only up to rounding
        return apart <= self.distance + 1e-9
