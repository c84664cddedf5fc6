"""Claims: what a study's source says, as numbers with intervals and a verdict."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from xaibench.component import Component
from xaibench.stats.intervals import Interval, crossed_interval
from xaibench.tables.longtable import Results

SHARE = (0.0, 1.0)
MAGNITUDE = (0.0, math.inf)

Relation = Literal[">", ">=", "<", "<="]

COLUMNS = (
    *("topic", "dataset", "model", "explainer", "claim"),
    *("value", "low", "high", "expected", "holds", "images", "seeds", "note"),
)


@dataclass(frozen=True, kw_only=True)
class Claim(Component):
    """Something that a study says about a classifier or its explanations, checked with a number.

    Parameters
    ----------
    topic
        A heading in plain words, for all rows of the claim.
    """

    topic: str = ""

    @abstractmethod
    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """What was found, made with `row`."""

    def __call__(self, results: Results) -> pd.DataFrame:
        """Check the claim on what the store holds of a grid.

        Returns
        -------
        DataFrame
            `topic`; `dataset`, `model` and `explainer` (empty if none is involved); `claim`, in plain words; `value` with the ends
            `low` and `high` of its 95 % interval; `expected`, such as "> 0"; `holds`; `images`, `seeds`; `note`.

            `holds` is True if the whole interval is as expected, False if none of it is, and None if the interval does not decide, if
            there is no interval, or if nothing is expected. If no image or classifier meets the claim's conditions, one row says so.
        """
        nothing = {"claim": "nothing to check it on", "value": math.nan, "low": math.nan, "high": math.nan, "images": 0, "seeds": 0}
        empty = dict.fromkeys(("dataset", "model", "explainer", "expected", "note"), "") | nothing | {"holds": None}
        found = [{"topic": self.topic or type(self).__name__} | item for item in list(self.rows(results)) or [empty]]
        frame = pd.DataFrame(found, columns=list(COLUMNS))
        return frame.assign(holds=pd.Series(list(frame["holds"]), dtype=object))


def row(
    names: dict[str, Any],
    claim: str,
    found: Interval,
    relation: Relation | None = None,
    threshold: float = 0.0,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> dict[str, Any]:
    """One row: a value with its interval, against the threshold if there is a relation to it.

    The interval is cut at the ends of `within`, the range that the value can have.
    """
    low, high = max(float(found.low), within[0]), min(float(found.high), within[1])
    undefined = int(found.undefined)
    return {
        **{name: names.get(name, "") for name in ("dataset", "model", "explainer")},
        "claim": claim,
        "value": float(found.mean),
        "low": low,
        "high": high,
        "expected": f"{relation} {threshold:g}" if relation else "",
        "holds": judged(low, high, relation, threshold) if relation else None,
        "images": int(found.images),
        "seeds": found.seeds,
        "note": "; ".join(filter(None, [found.note, f"undefined (image, seed) pairs: {undefined}" if undefined else ""])),
    }


def judged(low: float, high: float, relation: Relation, threshold: float) -> bool | None:
    """True if all numbers from `low` to `high` are as expected, False if none is, None if some are or an end is NaN."""
    if not low <= high:
        return None
    ends = {
        ">": (low > threshold, high > threshold),
        ">=": (low >= threshold, high >= threshold),
        "<": (high < threshold, low < threshold),
        "<=": (high <= threshold, low <= threshold),
    }
    every, some = ends[relation]
    return True if every else None if some else False


def over_seeds(values: ArrayLike) -> Interval:
    """The t interval over seeds, where there is one number for each."""
    return crossed_interval(np.asarray(values, dtype=np.float64)[None, :])
