"""Where a classifier's errors are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaibench.claims.base import SHARE, Claim, row
from xaibench.claims.classifiers import by_configuration
from xaibench.component import Fraction, NonNegativeInt
from xaibench.stats.intervals import Interval, crossed_interval
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class ErrorsAmong(Claim):
    """Share of the wrongly classified test images whose true class is one of those named, in [0, 1].

    Errors of all seeds together. A second row, without an expectation: true and predicted class are both among those named. The interval
    is that of a ratio of two means (linearized), images crossed with seeds.

    Parameters
    ----------
    topic
        A heading in plain words.
    named
        The classes.
    more_than
        The expected share.

    References
    ----------
    Cochran, Sampling techniques, 1977, section 2.11 (ratio estimates).
    """

    named: tuple[NonNegativeInt, ...] = ()
    more_than: Fraction = 0.5

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        for names, found in by_configuration(results):
            classes = found[0][0].dataset.classes
            labels, predicted = (np.stack(part, axis=1) for part in list(zip(*found, strict=True))[1:])
            errors, named = labels != predicted, ", ".join(classes[target] for target in self.named)
            inside = np.isin(labels, self.named)
            yield row(names, f"share of the errors whose true class is {named}", _share(errors, inside), ">", self.more_than, SHARE)
            within = _share(errors, inside & np.isin(predicted, self.named))
            yield row(names, "share of the errors that confuse these classes with each other", within, within=SHARE)


def _share(errors: NDArray[np.bool_], inside: NDArray[np.bool_]) -> Interval:
    """Share of the (image, seed) errors that are inside; NaN without errors."""
    if not errors.any():
        return crossed_interval(np.full(errors.shape, np.nan))
    share = float((errors & inside).sum() / errors.sum())
    residual = crossed_interval(errors * (inside - share) / errors.mean())
    return dataclasses.replace(residual, mean=residual.mean + share, low=residual.low + share, high=residual.high + share)
