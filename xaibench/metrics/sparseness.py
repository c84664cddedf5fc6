"""Sparseness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xaibench.maps import Pooling, pool_finite
from xaibench.problem import Explanation, Family, Problem
from xaibench.scoring import Metric, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Sparseness(Metric):
    """Gini index of the absolute attributions of an image's pixels: 0 when all are equal, near 1 when a single pixel holds everything.

    With the d absolute values v in ascending order, G = 1 - 2 sum_k v_k / |v|_1 (d - k + 1/2) / d, k = 1 ... d. It looks at the map only: a
    sparse map need not be a faithful one. Ties do not matter.

    Parameters
    ----------
    pooling
        How a pixel's channels become one number, of which the absolute value is taken.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1 - 1/d]; higher is sparser, hence less complex, hence better. NaN for a map that is 0 everywhere, or that
        holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Chalasani et al., Concise Explanations of Neural Networks using Adversarial Training, ICML 2020 (arXiv:1810.06583).
    """

    family: ClassVar[Family] = Family.COMPLEXITY
    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "arXiv:1810.06583"

    pooling: Pooling = "sum"

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        ascending = pool_finite(problem, explanation, self.pooling).abs().flatten(2).sort(dim=2).values
        shares = ascending / ascending.sum(dim=2, keepdim=True)
        pixels = shares.shape[2]
        weights = (pixels - torch.arange(1, pixels + 1, device=shares.device, dtype=shares.dtype) + 0.5) / pixels
        gini = 1 - 2 * (shares * weights).sum(dim=2)
        return Scores({"value": gini.clamp_min(0).to(torch.float32)})
