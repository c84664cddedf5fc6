"""How much an area of the images speaks for each class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xaibench.claims.base import row
from xaibench.claims.evidence import Evidence
from xaibench.claims.explanation_claim import ExplanationClaim
from xaibench.component import ConfigurationError, Fraction, NonNegativeInt
from xaibench.stats.intervals import crossed_interval
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class RegionSum(ExplanationClaim):
    """Sum of the attributions of an area, for each class named: above 0 if the area speaks for the class, below 0 if against.

    One row for each class and configuration: mean over images and seeds, with the interval of images crossed with seeds. An image without a
    pixel in the area counts with 0. With `negative="others"` a last row averages all those classes within each image.

    Parameters
    ----------
    topic, indices, true_class, correct, confidence
        As for `ExplanationClaim`.
    rectangles
        The area: (top, bottom, left, right) in pixels, bottom and right excluded; several are joined.
    pixels
        Of these, ``all``, or in each image those up to (dark) or above (bright) the `threshold`.
    threshold
        Intensity in [0, 1].
    positive, negative
        Classes with an expected sum above and below 0; ``others``: all explained ones that are not in `positive`.
    """

    rectangles: tuple[tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt], ...] = ()
    pixels: Literal["all", "dark", "bright"] = "all"
    threshold: Fraction = 0.1
    positive: tuple[NonNegativeInt, ...] = ()
    negative: Literal["others"] | tuple[NonNegativeInt, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rectangles or any(top >= bottom or left >= right for top, bottom, left, right in self.rectangles):
            raise ConfigurationError(f"RegionSum.rectangles={self.rectangles!r}: expected (top, bottom, left, right), none empty")

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        for evidence in self.evidence(results):
            sums = (evidence.values * self.area(evidence.images)[:, None]).sum(axis=(3, 4))
            for target in self.positive:
                yield self._row(evidence, sums[..., evidence.position(target)], f"sum for {evidence.classes[target]}", ">")
            negative = self._negative(evidence)
            for target in negative:
                yield self._row(evidence, sums[..., evidence.position(target)], f"sum for {evidence.classes[target]}", "<")
            if self.negative == "others":
                mean = sums[..., [evidence.position(target) for target in negative]].mean(axis=2)
                yield self._row(evidence, mean, f"mean sum for these {len(negative)} classes", "<")

    def area(self, images: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(B, H, W): the pixels that count in each of the (B, H, W) images."""
        inside = np.zeros(images.shape[1:], dtype=bool)
        for top, bottom, left, right in self.rectangles:
            if bottom > inside.shape[0] or right > inside.shape[1]:
                raise ConfigurationError(f"RegionSum.rectangles={self.rectangles!r}: expected areas inside images of {inside.shape} pixels")
            inside[top:bottom, left:right] = True
        kinds = {"all": True, "dark": images <= self.threshold, "bright": images > self.threshold}
        return inside & kinds[self.pixels] & np.ones_like(images, dtype=bool)

    def _negative(self, evidence: Evidence) -> list[int]:
        if self.negative == "others":
            return [int(target) for target in evidence.targets if target not in self.positive]
        return list(map(int, self.negative))

    def _row(self, evidence: Evidence, sums: NDArray[np.float64], text: str, relation: Literal["<", ">"]) -> dict[str, Any]:
        return row(evidence.names, text, crossed_interval(sums.T), relation, 0.0)
