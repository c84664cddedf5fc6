"""Local Lipschitz estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.metrics.reexplanation import Copies
from xaibench.metrics.robustness import Ball, largest, length, norm
from xaibench.problem import Problem


@dataclass(frozen=True)
class LocalLipschitz(Ball):
    """How steeply the attributions can change around the image: their change divided by the image's change, at the most.

    The largest |phi(x) - phi(x')|_2 / |x - x'|_2 over random x' in the L_inf ball of `radius`, phi the signed attributions of the image's
    target. It grows with the scale of the attributions: comparable only between methods of equal units. Fields: see `Ball`.

    Returns
    -------
    Scores
        `value`: (B, T), 0 or more, units of attribution per unit of intensity, a lower bound of the Lipschitz constant in the ball; lower
        is better. NaN where the image's map, or a copy's, holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or the explanation cannot explain again.

    References
    ----------
    Alvarez-Melis and Jaakkola, On the robustness of interpretability methods, 2018 (arXiv:1806.08049), eq. 2; Towards robust
    interpretability with self-explaining neural networks, NeurIPS 2018 (arXiv:1806.07538). Differs: the largest of random points, where
    the authors search with gradients or Bayesian optimization.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Alvarez-Melis and Jaakkola, 2018 (arXiv:1806.08049)"

    def score(self, problem: Problem, copies: Copies) -> Tensor:
        """(n, T): the largest ratio."""
        moved = length(copies.images - problem.images[copies.rows][:, None])
        return largest(norm(copies.values - copies.original) / moved, moved[..., 0] > 0)
