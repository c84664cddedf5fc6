"""Entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.metrics.map_metric import PooledMapMetric
from xaibench.problem import Family, Problem


@dataclass(frozen=True)
class Entropy(PooledMapMetric):
    """Entropy, in nats, of the pixels' shares in the absolute attribution: 0 when one pixel holds everything.

    With p_i = |a_i| / sum_j |a_j| it is -sum_i p_i ln p_i. It looks at the map only: a map of low entropy need not be a faithful one.
    Nothing is ranked, so there are no ties. Field: see `PooledMapMetric`; the absolute value is taken after pooling.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, ln(number of pixels)], which a constant map has; lower is less complex, hence better. NaN for a map that
        is 0 everywhere, or that holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Bhatt, Weller and Moura, Evaluating and aggregating feature-based model explanations, IJCAI 2020 (arXiv:2005.00631): complexity.
    Differs: features are pixels, not their channels.
    """

    family: ClassVar[Family] = Family.COMPLEXITY
    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Bhatt et al., 2020 (arXiv:2005.00631)"

    def score(self, maps: Tensor, problem: Problem) -> Mapping[str, Tensor]:
        """See `MapMetric`."""
        sizes = maps.abs().flatten(2)
        return {"value": torch.special.entr(sizes / sizes.sum(dim=2, keepdim=True)).sum(dim=2)}
