"""Monotonicity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.curves import First
from xaibench.metrics.changes import changes
from xaibench.metrics.curve_metric import CurveMetric


@dataclass(frozen=True)
class Monotonicity(CurveMetric):
    """Share of steps at which the probability does not fall as pixels are put in, the least relevant first.

    Pixels are ranked by attribution pooled over channels (ties: a permutation drawn for each image). From the image with every pixel handed
    to `removal` they get their own values back in `steps` equal fractions, in increasing order of relevance. Relevance is signed: pixels
    against the target come first and may well lower its output; `pooling="abs_sum"` ranks by magnitude. Fields: see `CurveMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; higher is better. `monotone`: (B, T), 1 where the output falls at no step, else 0: the definition of the
        paper. `tied`: (B, T), share of pixels whose place in the ranking was drawn. Curve, named as `output`: (B, T, steps + 1), over the
        fraction put in. NaN where the attributions hold a NaN, or the classifier gives one. A fall below 2^-22 of the curve's largest
        value counts as none.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Arya et al., One explanation does not fit all, 2019 (arXiv:1909.03012), monotonicity, after Luss et al. (arXiv:1905.12698). Differs: the
    headline is a share of steps; pixels go in `steps` equal fractions, not one by one.
    """

    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Arya et al., 2019 (arXiv:1909.03012)"
    keeps: ClassVar[bool] = True

    def values(self, along: Mapping[First, Tensor], axis: Tensor) -> dict[str, Tensor]:
        """The share of steps without a fall, and whether there are no others."""
        curve = along["most"]
        rises = changes(curve[..., 1:], curve[..., :-1])
        share = torch.where(rises.isnan().any(dim=2), torch.nan, (rises >= 0).to(curve.dtype).mean(dim=2))
        whole = torch.where(share.isnan(), torch.nan, (rises >= 0).all(dim=2).to(curve.dtype))
        return {"value": share, "monotone": whole}
