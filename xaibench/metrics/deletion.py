"""Deletion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench import curves
from xaibench.curves import First
from xaibench.metrics.curve_metric import CurveMetric


@dataclass(frozen=True)
class Deletion(CurveMetric):
    """Area under the target's probability as the most relevant pixels are removed.

    Pixels are ranked by attribution pooled over channels (ties: a permutation drawn for each image) and handed to `removal`,
    the most relevant first, in `steps` equal fractions. A low area means that the ranking found what the classifier used. Pixel flipping
    (Bach et al., 2015), MoRF (Samek et al., 2017) and selectivity (Montavon et al., 2018: patches, logit) are this number with their own
    removal, regions and output. Fields: see `CurveMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), area, output x fraction of pixels, in [0, 1] for a probability; lower is better. `tied`: (B, T), share of pixels
        whose place in the ranking was drawn. Curve, named as `output`: (B, T, steps + 1), over the fraction removed. NaN where the
        attributions hold a NaN, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Petsiuk et al., RISE, BMVC 2018 (arXiv:1806.07421). Differs: pixels go in equal fractions of the image, not in a fixed number.
    """

    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Petsiuk et al., 2018 (arXiv:1806.07421)"

    def values(self, along: Mapping[First, Tensor], axis: Tensor) -> dict[str, Tensor]:
        """The area under the curve."""
        return {"value": curves.area(along["most"], axis)}
