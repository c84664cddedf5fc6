"""Area over the perturbation curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.curves import First
from xaibench.metrics.curve_metric import CurveMetric


@dataclass(frozen=True)
class Aopc(CurveMetric):
    """How far the target's output falls in the mean over all steps as pixels are removed, the most relevant first.

    Pixels are ranked by attribution pooled over channels (ties: a permutation drawn for each image) and handed to `removal` in `steps`
    equal fractions; the score is the mean of f(x) - f(x_k) over the steps k = 0 ... L. Removing the least relevant pixels first asks the
    opposite: the fall should be small, and the score is its negative. Fields: see `CurveMetric`.

    Parameters
    ----------
    order
        Which end of the ranking goes first.

    Returns
    -------
    Scores
        `value`: (B, T), mean fall of the output, for the order `least` its negative, in [-1, 1] for a probability; higher is better for
        both orders. `tied`: (B, T), share of regions whose place in the ranking was drawn. Curve, named as `output`: (B, T, steps + 1),
        over the fraction removed. NaN where the attributions hold a NaN, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Samek et al., Evaluating the visualization of what a deep neural network has learned, 2017 (arXiv:1509.06321), eq. 12. Differs: all
    regions are removed, in equal fractions, not the first 100; the score for the least relevant first has the opposite sign. The
    paper's regions and noise: `RegionPerturbation`.
    """

    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Samek et al., 2017 (arXiv:1509.06321)"

    order: First = "most"

    def sequences(self) -> tuple[First, ...]:
        """The one that `order` tells."""
        return (self.order,)

    def values(self, along: Mapping[First, Tensor], axis: Tensor) -> dict[str, Tensor]:
        """The mean fall, over points as the paper has it, not over the axis."""
        curve = along[self.order]
        fall = (curve[..., :1] - curve).mean(dim=2)
        return {"value": fall if self.order == "most" else -fall}
