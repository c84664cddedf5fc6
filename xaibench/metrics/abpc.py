"""Area between the perturbation curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench import curves
from xaibench.curves import First
from xaibench.metrics.curve_metric import CurveMetric


@dataclass(frozen=True)
class Abpc(CurveMetric):
    """How much higher the target's output stays when the least relevant pixels are removed first than when the most relevant are.

    Pixels are ranked by attribution pooled over channels (ties: a permutation drawn for each image) and handed to `removal` in `steps`
    equal fractions, once the most relevant first (MoRF) and once the least relevant first (LeRF). The score is the area between the two
    curves: a ranking without information has 0 in the mean, and a map turned upside down has exactly the negative score, unless
    relevance ties. At equal fields it is insertion less deletion. Fields: see `CurveMetric`.

    Returns
    -------
    Scores
        All (B, T). `value`: area between the curves, LeRF less MoRF, in [-1, 1] for a probability; higher is better. `most_first`,
        `least_first`: areas under the two, in [0, 1] for a probability. `tied`: share of regions whose place in the ranking was drawn.
        Curves `<output>_most_first`, `<output>_least_first`: (B, T, steps + 1), over the fraction removed. NaN where the attributions hold
        a NaN, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Samek et al., Evaluating the visualization of what a deep neural network has learned, 2017 (arXiv:1509.06321), MoRF, LeRF and the area
    between them. Schulz et al., Restricting the flow, 2020 (arXiv:2001.00396), degradation. Differs: areas by the trapezoidal rule over
    the whole image; the curves are not scaled to start at 1 and end at 0.
    """

    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Samek et al., 2017 (arXiv:1509.06321)"
    orders: ClassVar[tuple[First, ...]] = ("most", "least")

    def values(self, along: Mapping[First, Tensor], axis: Tensor) -> dict[str, Tensor]:
        """The area between the curves, and those under each."""
        between = curves.area(along["least"] - along["most"], axis)
        return {"value": between, **{f"{first}_first": curves.area(curve, axis) for first, curve in along.items()}}
