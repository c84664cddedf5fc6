"""Precision, recall and F1 score of each class beside published ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from xaibench.claims.base import Claim
from xaibench.classifiers import reports
from xaibench.component import ConfigurationError, Fraction, PositiveFloat, PositiveInt
from xaibench.tables.longtable import Results

SCORES = ("precision", "recall", "f1")


@dataclass(frozen=True, kw_only=True)
class ClassReport(Claim):
    """Precision, recall and F1 score of each class on the test set, beside those of one published classifier.

    `low` and `high` are the ends of the 95 % prediction interval for one more training seed (t distribution), since the reference comes
    from one training. `holds` is True if the whole interval lies within `margin` of the reference, False if no number in it rounds to the
    reference, and None else, or with one seed.

    Parameters
    ----------
    topic
        A heading in plain words.
    reference
        (class, precision, recall, F1 score) for each class; ``macro avg`` and ``weighted avg`` are classes here.
    decimals
        Of the published numbers.
    margin
        The largest difference that counts as none.
    """

    reference: tuple[tuple[str, Fraction, Fraction, Fraction], ...] = ()
    decimals: PositiveInt = 2
    margin: PositiveFloat = 0.05

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        found = reports(results)
        for (dataset, model, _), part in found.groupby(["dataset", "model", "trainer"], sort=False):
            for name, *published in self.reference:
                own = part[part["class"] == name]
                if own.empty:
                    raise ConfigurationError(f"ClassReport.reference: class {name!r}: expected one of {', '.join(part['class'].unique())}")
                for score, reference in zip(SCORES, published, strict=True):
                    names = {"dataset": dataset, "model": model, "explainer": "", "claim": f"{name}: {score}"}
                    size = {"images": int(own["support"].iloc[0]), "seeds": len(own)}
                    yield names | self._judge(own[score].to_numpy(dtype=np.float64), reference) | size

    def _judge(self, values: NDArray[np.float64], reference: float) -> dict[str, Any]:
        mean, count, half = float(values.mean()), len(values), float("nan")
        if count > 1:
            half = float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) * np.sqrt(1 + 1 / count))
        distance, rounding = abs(mean - reference), 0.5 * 10.0**-self.decimals + 1e-12
        return {
            "value": mean,
            "low": max(mean - half, 0.0) if count > 1 else half,
            "high": min(mean + half, 1.0) if count > 1 else half,
            "expected": f"{reference:.{self.decimals}f}",
            "holds": True if distance + half <= self.margin else False if distance - half > rounding else None,
            "note": f"difference {mean - reference:+.3f}; interval for one more training",
        }
