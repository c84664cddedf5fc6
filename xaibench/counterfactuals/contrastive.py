"""What pertinent negatives and pertinent positives share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.component import Fraction, NonNegativeFloat
from xaibench.counterfactuals.fista import FistaSearch


@dataclass(frozen=True)
class ContrastiveSearch(FistaSearch):
    """A method that adds to an image, or keeps of it, what is present: what differs from the value that stands for nothing.

    Parameters
    ----------
    absent
        That value.
    """

    paper: ClassVar[str] = "Dhurandhar et al., 2018 (arXiv:1802.07623)"

    gamma: NonNegativeFloat = 0.0
    absent: Fraction = 0.0

    def emptied(self, images: Tensor) -> Tensor:
        """The images with nothing present."""
        return images.new_full((1,), self.absent).expand_as(images)
