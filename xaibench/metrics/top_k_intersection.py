"""Top-k intersection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.metrics.localization import OrderedLocalization, top_inside
from xaibench.problem import Explainer, Problem


@dataclass(frozen=True)
class TopKIntersection(OrderedLocalization):
    """Share of the k pixels of the highest relevance that lie in the true mask.

    Where equal pixels compete for the last places, the mean over all their orders. A map without information has the mask's share of the
    image. Where the mask has fewer than k pixels the share cannot reach 1. Other fields: see `OrderedLocalization`.

    Parameters
    ----------
    k
        Number of pixels.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; higher is better. NaN where the mask has no pixel, or the map holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions, images and masks differ in batch, targets or spatial size.

    References
    ----------
    Theiner, Müller-Budack and Ewerth, Interpretable semantic photo geolocation, WACV 2022 (arXiv:2104.14995): the share of the k highest
    attributions that lie in a concept's segment, without its division by the segment's share of the image (their concept influence).
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Theiner et al., 2021 (arXiv:2104.14995)"

    k: PositiveInt = 10

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs masks, and images of at least k pixels."""
        pixels = problem.images[0, 0].numel()
        few = f"asks for the highest {self.k} pixels, and the images have {pixels}" if pixels < self.k else None
        return super().unsupported(problem, explainer) or few

    def compare(self, maps: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        """See `LocalizationMetric`."""
        count = torch.full(maps.shape[:2], self.k, device=maps.device)
        return {"value": top_inside(maps, masks, count) / self.k}
