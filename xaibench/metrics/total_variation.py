"""Total variation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.metrics.map_metric import PooledMapMetric
from xaibench.problem import Family, Problem


@dataclass(frozen=True)
class TotalVariation(PooledMapMetric):
    """Mean absolute difference between a map's neighboring pixels, as a share of the map's largest absolute value: 0 when it is constant.

    Neighbors share a side; every pair counts once. A smooth map need not be a faithful one. Nothing is ranked, so there are no ties.
    Field: see `PooledMapMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 2]; lower is smoother, hence less complex, hence better. NaN for a map that is 0 everywhere, or that holds
        a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Rudin, Osher and Fatemi, Nonlinear total variation based noise removal algorithms, Physica D 1992. Differs: anisotropic (differences
    along rows and along columns are added, not their squares); the mean over the pairs, of a map that is scaled by its own largest
    absolute value, so that maps of any size and unit can be compared.
    """

    family: ClassVar[Family] = Family.COMPLEXITY
    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Rudin et al., 1992"

    def score(self, maps: Tensor, problem: Problem) -> Mapping[str, Tensor]:
        """See `MapMetric`."""
        scaled = maps / maps.abs().amax(dim=(2, 3), keepdim=True)
        return {"value": torch.cat([scaled.diff(dim=side).abs().flatten(2) for side in (2, 3)], dim=2).mean(dim=2)}
