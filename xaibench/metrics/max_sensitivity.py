"""Max-sensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.metrics.reexplanation import Copies
from xaibench.metrics.robustness import Ball
from xaibench.metrics.sensitivity import change
from xaibench.problem import Problem


@dataclass(frozen=True)
class MaxSensitivity(Ball):
    """How far the attributions can move, relative to their size, when the image moves a little in any direction.

    The largest |phi(x + d) - phi(x)| / |phi(x)| over random d in the L_inf ball of `radius`, |.| the Frobenius norm over channels and
    pixels, phi the signed attributions of the image's target. A constant explainer has 0: being robust is not being right. Fields: see
    `Ball`.

    Parameters
    ----------
    normalized
        Whether the change is divided by |phi(x)|, so that a map's scale does not matter.

    Returns
    -------
    Scores
        `value`: (B, T), 0 or more, a lower bound of the largest over the whole ball; lower is better. NaN where the image's map, or a
        copy's, holds a NaN or an infinite value, and, if normalized, where the image's map is all zero.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or the explanation cannot explain again.

    References
    ----------
    Yeh, Hsieh, Suggala, Inouye and Ravikumar, On the (in)fidelity and sensitivity of explanations, NeurIPS 2019 (arXiv:1901.09392),
    definition 2, eq. 2. Differs: 10 samples by default where the paper draws 50; divided by |phi(x)|, as in the authors' code but not in
    the definition, unless `normalized` is false.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Yeh et al., 2019 (arXiv:1901.09392)"

    normalized: bool = True

    def score(self, problem: Problem, copies: Copies) -> Tensor:
        """(n, T): the largest change."""
        return change(copies, self.normalized).amax(1)
