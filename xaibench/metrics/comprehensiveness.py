"""Comprehensiveness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.metrics.bin_metric import BinMetric


@dataclass(frozen=True)
class Comprehensiveness(BinMetric):
    """How far the target's probability falls when the most relevant pixels are removed, in the mean over a few shares of them.

    Pixels are ranked by attribution pooled over channels (ties: a permutation drawn for each image), and the most relevant 1, 5, 10, 20
    and 50 % of them (`bins`) are removed. The score is the mean of p(x) - p(x without them): it is high where the map names all that the
    classifier needs. Fields: see `BinMetric` and `RemovalMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), mean fall of the output, in [-1, 1] for a probability; higher is better. `tied`: (B, T), share of pixels whose
        place in the ranking was drawn. Curve, named as `output`: (B, T, bins + 2), the output at 0, at the shares, and at 1, over the
        fraction removed. NaN where the attributions hold a NaN, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    DeYoung et al., ERASER: a benchmark to evaluate rationalized NLP models, ACL 2020 (arXiv:1911.03429), eq. 1, and its AOPC over bins.
    Differs: pixels for tokens; the mean is over the shares, without the zero share of the printed sum, as in the authors' code.
    """

    higher_is_better: ClassVar[bool | None] = True
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "DeYoung et al., 2020 (arXiv:1911.03429)"
    whole: ClassVar[int] = 0
