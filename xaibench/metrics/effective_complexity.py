"""Effective complexity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import Fraction
from xaibench.metrics.map_metric import PooledMapMetric
from xaibench.problem import Family, Problem


@dataclass(frozen=True)
class EffectiveComplexity(PooledMapMetric):
    """Share of an image's pixels whose absolute attribution is more than a small part of the largest one.

    It looks at the map only: a map of few pixels need not be a faithful one. Other fields: see `PooledMapMetric`; the absolute value is
    taken after pooling.

    Parameters
    ----------
    threshold
        That part: a pixel counts if its absolute attribution is larger than `threshold` times the largest of its own map.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; lower is less complex, hence better. NaN for a map that is 0 everywhere, or that holds a NaN or an
        infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Nguyen and Martinez, On quantitative aspects of model interpretability, 2020 (arXiv:2007.07584): effective complexity. Differs: theirs
    asks the classifier, and counts the most relevant features that must be known for the output to stay within a tolerance; this is the
    form that needs the map only and counts those that are not negligible in it. As a share of the pixels, not as a number.
    """

    family: ClassVar[Family] = Family.COMPLEXITY
    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Nguyen and Martinez, 2020 (arXiv:2007.07584)"

    threshold: Fraction = 0.01

    def score(self, maps: Tensor, problem: Problem) -> Mapping[str, Tensor]:
        """See `MapMetric`."""
        sizes = maps.abs().flatten(2)
        largest = sizes.amax(dim=2, keepdim=True)
        share = (sizes > self.threshold * largest).to(maps.dtype).mean(dim=2)
        return {"value": torch.where(largest[..., 0] > 0, share, torch.nan)}
