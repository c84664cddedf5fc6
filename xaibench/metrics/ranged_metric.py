"""What the metrics share whose number has the unit of the pixels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xaibench.component import ConfigurationError
from xaibench.metrics.counterfactual_metric import CounterfactualMetric


@dataclass(frozen=True)
class RangedMetric(CounterfactualMetric):
    """A score of images whose values [0, 1] are first mapped linearly to `input_range`.

    Parameters
    ----------
    input_range
        Darkest and brightest value. Numbers of different ranges are not comparable.

    Raises
    ------
    ConfigurationError
        If the range does not ascend.
    """

    input_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Raise unless the range ascends."""
        super().__post_init__()
        if not self.input_range[0] < self.input_range[1]:
            raise ConfigurationError(f"{type(self).__name__}.input_range={self.input_range!r}: expected the darkest value first")

    @property
    def width(self) -> float:
        """By how much differences grow."""
        return self.input_range[1] - self.input_range[0]

    def ranged(self, images: Tensor) -> Tensor:
        """Images of [0, 1] in `input_range`."""
        return self.input_range[0] + self.width * images
