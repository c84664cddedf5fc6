"""Selectivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.component import PositiveInt
from xaibench.metrics.deletion import Deletion
from xaibench.perturb import Read
from xaibench.superpixels import Patches, Superpixels


@dataclass(frozen=True)
class Selectivity(Deletion):
    """Area under the target's logit as square patches turn black, the most relevant first.

    The image is cut into patches of 4 x 4 pixels (smaller ones at the right and lower border, where 4 does not divide it). They are ranked
    by the mean of their pixels' attribution, pooled over channels, and go one by one, or in `steps` equal fractions where there are more.
    Fields: see `CurveMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), area, logit x fraction of patches, unbounded; lower is better. `tied`: (B, T), share of patches whose place in the
        ranking was drawn. Curve, named as `output`: (B, T, steps + 1), over the fraction of patches removed. NaN where the
        attributions hold a NaN, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Montavon et al., Methods for interpreting and understanding deep neural networks, 2018 (arXiv:1706.07979), explanation selectivity.
    Differs: patches are ranked by the mean, not the sum, which differs only for the smaller ones at the border.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Montavon et al., 2018 (arXiv:1706.07979)"

    superpixels: Superpixels = Patches(side=4)
    output: Read = "logit"
    steps: PositiveInt = 100
