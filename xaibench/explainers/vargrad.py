"""VarGrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.explainers.noise_samples import NoiseSamples
from xaibench.problem import Attributions, Family, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Vargrad(NoiseSamples):
    """How much what `of` finds varies in the neighborhood of the image: the variance of the explanation (by default gradient) under noise.

    Returns
    -------
    Attributions
        (B, T, C, H, W), squared units of `of`, not negative; over the noisy copies themselves (divided by `samples`, not by one less),
        hence 0 for one copy. No completeness.

    References
    ----------
    Adebayo, Gilmer, Goodfellow and Kim, Local explanation methods for deep neural networks lack sensitivity to parameter values, 2018
    (arXiv:1810.03307), section 2.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Adebayo et al., 2018 (arXiv:1810.03307)"
    claims: ClassVar = frozenset({"dummy", "implementation invariance"})

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        sums: list[Tensor] = []
        done = 0
        for row, values in self._explained(problem, rng):
            sums = sums or [values.new_zeros(len(problem.images), *values.shape[1:]) for _ in range(3)]
            # An image's first copy is taken off all its copies: a variance far below the squared mean is not lost in rounding.
            shift, total, squares = sums
            first = values[-done % self.samples :: self.samples]
            begun = -(-done // self.samples)
            shift[begun : begun + len(first)] = first
            centered = values - shift[row]
            total.index_add_(0, row, centered)
            squares.index_add_(0, row, centered.square_())
            done += len(row)
        _, total, squares = sums
        return Attributions(squares.sub_(total.square_().div_(self.samples)).div_(self.samples).clamp_(min=0))
