"""Counterfactuals after Wachter, Mittelstadt and Russell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.counterfactuals.descent import Descent, Distance
from xaibench.counterfactuals.space import Space, flat
from xaibench.problem import Problem


@dataclass(frozen=True)
class Wachter(Descent):
    """The closest image found that the classifier takes for the target, when its pixels follow the gradient of the target's probability.

    Minimizes (f(x') - aim)^2 + weight * distance(x', x) over images x' in [0, 1], with the weight found for each pair: the rounds, the
    steps and all fields are described at `Descent`. With the distance ``l1``, pixels that need not change are exactly as they were.

    A pair may not be found where the probability rounds to 0 (log-odds below about -87), as its gradient then is 0: the other
    outputs keep theirs.

    Returns
    -------
    Counterfactuals
        For each pair the closest image found; where none is, the last one that was tried.

    References
    ----------
    Wachter, Mittelstadt and Russell, Counterfactual explanations without opening the black box, 2017 (arXiv:1711.00399), equations 1
    and 2. Differs: the factor is on the distance, hence as small as it needs to be, not as large; the distance is the plain sum over
    pixels, not divided by each feature's median absolute deviation; proximal steps instead of Adam; images stay in [0, 1].
    """

    paper: ClassVar = "Wachter, Mittelstadt and Russell, 2017 (arXiv:1711.00399)"

    def space(self, problem: Problem) -> Space:
        """The pixels."""
        return Pixels(self.distance)


@dataclass(frozen=True)
class Pixels(Space):
    """Pixels and channels in [0, 1]."""

    distance: Distance

    def start(self, images: Tensor) -> Tensor:
        """The image."""
        return flat(images)

    def rows(self, variables: Tensor) -> Tensor:
        """They are the image."""
        return variables

    def shrunk(self, variables: Tensor, origin: Tensor, amount: Tensor) -> Tensor:
        """For L1 the changes are shrunk by `amount`, at most to 0; for squared L2 they are divided by 1 + 2 `amount`."""
        if self.distance == "l2":
            return variables.lerp_(origin, 2 * amount / (1 + 2 * amount))
        changes = variables.sub_(origin)
        # Where nothing is left of a change, the difference is exactly 0.
        return changes.sub_(changes.clamp(-amount, amount)).add_(origin)
