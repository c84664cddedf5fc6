"""Focus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.metrics.localization import PooledLocalization, share_inside
from xaibench.problem import Explainer, Problem

SIDE = 2
"""A mosaic has two rows and two columns of images."""


@dataclass(frozen=True)
class Focus(PooledLocalization):
    """Share of the positive relevance that lies in those quarters of a mosaic that show the target.

    Negative relevance does not count. Chance is the share of quarters that show the target. Nothing is ranked, so there are no ties.
    Field: see `PooledLocalization`.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; higher is better. NaN where no quarter shows the target, where no relevance is positive, or where the
        map holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions, images and masks differ in batch, targets or spatial size.

    References
    ----------
    Arias-Duart et al., Focus! Rating XAI methods and finding biases, FUZZ-IEEE 2022 (arXiv:2109.15035), eq. 1. Differs: the mosaics are the
    dataset's, where any number of the four images may be of the target's class; theirs are two.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Arias-Duart et al., 2021 (arXiv:2109.15035)"

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs masks that are made of whole quarters of the image."""
        reason = super().unsupported(problem, explainer)
        if reason is None and problem.masks is not None and not _of_quarters(problem.masks):
            reason = "needs mosaics of 2 x 2 images: true masks that are made of whole quarters of the image"
        return reason

    def compare(self, maps: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        """See `LocalizationMetric`."""
        return {"value": share_inside(maps.clamp(min=0), masks)}


def _of_quarters(masks: Tensor) -> bool:
    """Whether each quarter lies in its mask as a whole, or not at all."""
    height, width = masks.shape[2:]
    if height % SIDE or width % SIDE:
        return False
    quarters = masks.reshape(*masks.shape[:2], SIDE, height // SIDE, SIDE, width // SIDE)
    return bool(torch.equal(quarters.amax(dim=(3, 5)), quarters.amin(dim=(3, 5))))
