"""The classifiers of a grid, those that differ only in the seed together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaibench.problem import Training
from xaibench.tables.longtable import Results

Found = tuple[Training, NDArray[np.int64], NDArray[np.int64]]


def by_configuration(results: Results) -> list[tuple[dict[str, Any], list[Found]]]:
    """For each (dataset, model, trainer) its names, and for each seed the training, the true and the predicted classes of the test set."""
    groups: dict[tuple[str, ...], tuple[dict[str, Any], list[Found]]] = {}
    for names, training, _, _ in results.classifiers():
        key = tuple(str(value) for name, value in names.items() if name != "seed")
        labels, predicted, _ = results.prediction(training)
        groups.setdefault(key, (names, []))[1].append((training, labels, predicted))
    return list(groups.values())
