"""Where saturating pixels raises the probability of a class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaibench.claims.base import Claim, row
from xaibench.component import ConfigurationError, NonNegativeInt
from xaibench.stats.intervals import Interval, note_of, resampled_interval
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class InfluenceRegion(Claim):
    """Saturating pixels of an area raises the mean probability of a class more than saturating pixels elsewhere does.

    The mean influence (the contrast of an `Influence` analysis) of the area's pixels that can be saturated, less that of all others. The
    interval holds for other images, by the bootstrap, in which both means are taken again, and for other seeds.

    Parameters
    ----------
    topic
        As for `Claim`.
    datasets
        The labels of the data sets that it is about; all of the study's if there are none.
    influence
        The analysis, by its name in the study.
    classes
        Classes, each checked alone.
    rectangle
        The area: (top, bottom, left, right) in pixels, bottom and right excluded.
    """

    datasets: tuple[str, ...] = ()
    influence: str = ""
    classes: tuple[NonNegativeInt, ...] = ()
    rectangle: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt] = (0, 1, 0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        top, bottom, left, right = self.rectangle
        if top >= bottom or left >= right:
            raise ConfigurationError(f"InfluenceRegion.rectangle={self.rectangle}: expected (top, bottom, left, right), not empty")

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        groups: dict[tuple[str, ...], list[Any]] = {}
        known: dict[tuple[str, ...], tuple[tuple[str, ...], int]] = {}
        for facts, training, artifact in results.influences():
            if facts["influence"] == self.influence and (not self.datasets or facts["dataset"] in self.datasets):
                place = facts["dataset"], facts["model"], facts["trainer"]
                groups.setdefault(place, []).append(artifact.tensors)
                known[place] = training.dataset.classes, len(results.prediction(training)[0])
        for key, members in groups.items():
            (dataset, model, _), (classes, images) = key, known[key]
            for target in self.classes:
                found = self._interval(members, target, images)
                text = f"influence on {classes[target]} inside {self.rectangle}, less that elsewhere"
                yield row({"dataset": dataset, "model": model, "explainer": self.influence}, text, found, ">")

    def _interval(self, members: list[Any], target: int, images: int) -> Interval:
        given = [
            (one, one["probability_contrast"][None, target].numpy(), one["probability_contrasts"][:, target].numpy()) for one in members
        ]
        mean, low, high = resampled_interval([self._excess(one, np.concatenate(pair)) for one, *pair in given])
        count = len(members)
        known = (np.asarray(count - 1.0), np.asarray(images), count, np.asarray(0), note_of(count))
        return Interval(np.asarray(mean), np.asarray(low), np.asarray(high), *known)

    def _excess(self, tensors: Any, values: NDArray[Any]) -> NDArray[Any]:
        """(...): mean of (..., H, W) inside less that outside, over the pixels that can be saturated in all."""
        top, bottom, left, right = self.rectangle
        inside = np.zeros(values.shape[-2:], dtype=bool)
        inside[top:bottom, left:right] = True
        moved = tensors["moved"][-1].numpy() & np.isfinite(tensors["probability_contrasts"].numpy()).all(axis=(0, 1))
        found: NDArray[Any] = values[..., inside & moved].mean(axis=-1) - values[..., ~inside & moved].mean(axis=-1)
        return found
