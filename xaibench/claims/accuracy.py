"""Test accuracy against a published one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaibench.claims.base import SHARE, Claim, row
from xaibench.claims.classifiers import by_configuration
from xaibench.component import Fraction
from xaibench.stats.intervals import crossed_interval
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class Accuracy(Claim):
    """Share of the test images that are classified rightly, expected to reach a published accuracy.

    One row for each classifier's configuration, with the interval of images crossed with seeds.

    Parameters
    ----------
    topic
        A heading in plain words.
    reference
        The published accuracy.
    """

    reference: Fraction = 0.0

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        for names, found in by_configuration(results):
            right = [(guess == label).astype(float) for _, label, guess in found]
            yield row(names, "test accuracy", crossed_interval(np.stack(right, axis=1)), ">=", self.reference, SHARE)
