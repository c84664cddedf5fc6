"""Pixel flipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.metrics.deletion import Deletion
from xaibench.perturb import Read
from xaibench.removal import Inversion, Removal


@dataclass(frozen=True)
class PixelFlipping(Deletion):
    """Area under the target's logit as the most relevant pixels are flipped: black becomes white, and white black.

    It is `Deletion` with another removal and another output. Fields: see `CurveMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), area, logit x fraction of pixels, unbounded; lower is better. `tied`: (B, T), share of pixels whose place in the
        ranking was drawn. Curve, named as `output`: (B, T, steps + 1), over the fraction flipped. NaN where the attributions hold a NaN,
        or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Bach et al., On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation, PLOS ONE 10(7), 2015,
    flipping of single pixels on MNIST. Differs: pixels go in equal fractions and to the last one, whatever the sign of their relevance.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Bach et al., 2015 (PLOS ONE 10(7))"

    removal: Removal = Inversion()
    output: Read = "logit"
