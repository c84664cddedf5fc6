"""Insertion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench import curves
from xaibench.curves import First
from xaibench.metrics.curve_metric import CurveMetric


@dataclass(frozen=True)
class Insertion(CurveMetric):
    """Area under the target's probability as the most relevant pixels are put into an image that has lost them all.

    Pixels are ranked by attribution pooled over channels (ties: a permutation drawn for each image). The curve starts from the image with
    every pixel handed to `removal`, and gets its own pixels back, the most relevant first, in `steps` equal fractions. It is the curve that
    removes the least relevant pixels first, read backwards. A high area means that few pixels are enough for the classifier.
    Fields: see `CurveMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), area, output x fraction of pixels, in [0, 1] for a probability; higher is better. `tied`: (B, T), share of pixels
        whose place in the ranking was drawn. Curve, named as `output`: (B, T, steps + 1), over the fraction put back. NaN where the
        attributions hold a NaN, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Petsiuk et al., RISE, BMVC 2018 (arXiv:1806.07421). Differs: pixels come in equal fractions of the image, not in a fixed number, and
    start by default from black, not from the blurred image (`removal`).
    """

    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Petsiuk et al., 2018 (arXiv:1806.07421)"
    orders: ClassVar[tuple[First, ...]] = ("least",)
    keeps: ClassVar[bool] = True

    def values(self, along: Mapping[First, Tensor], axis: Tensor) -> dict[str, Tensor]:
        """The area under the curve."""
        return {"value": curves.area(along["least"], axis)}
