"""Iterative removal of features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench import curves
from xaibench.component import PositiveInt
from xaibench.curves import First
from xaibench.metrics.curve_metric import CurveMetric
from xaibench.removal import DatasetMean, Removal
from xaibench.superpixels import Slic, Superpixels


@dataclass(frozen=True)
class Irof(CurveMetric):
    """Area over the target's probability, relative to that of the whole image, as superpixels are removed, the most relevant first.

    Superpixels of each image are ranked by the mean of their pixels' attribution, pooled over channels (ties: a permutation drawn for each
    image), and take the mean of the training data in `steps` equal fractions. A large area means that the first superpixels took most of
    the probability away. Fields: see `CurveMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), 1 less the area under f(x_k) / f(x), at most 1, negative where the output rises; higher is better. `tied`: (B, T),
        share of superpixels whose place in the ranking was drawn. Curve, named as `output`: (B, T, steps + 1), not divided, over the
        fraction of superpixels removed. NaN where the attributions hold a NaN, the classifier gives one, or f(x) is not positive.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Rieger and Hansen, IROF: a low resource evaluation metric for explanation methods, 2020 (arXiv:2003.08747). Differs: superpixels go in
    equal fractions, at uneven counts where an image has fewer of them than steps.
    """

    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Rieger and Hansen, 2020 (arXiv:2003.08747)"

    removal: Removal = DatasetMean()
    superpixels: Superpixels = Slic()
    output: Literal["probability", "logit"] = "probability"
    steps: PositiveInt = 49

    def values(self, along: Mapping[First, Tensor], axis: Tensor) -> dict[str, Tensor]:
        """The area over the relative curve."""
        curve = along["most"]
        # what is smaller than a normal number could make the quotient infinite
        whole = torch.where(curve[..., :1] >= torch.finfo(curve.dtype).tiny, curve[..., :1], torch.nan)
        return {"value": 1 - curves.area(curve / whole, axis)}
