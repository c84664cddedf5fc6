"""A closer look at some pixels: everything that is read of the predictions along tau, and the mean image of the reweighted data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xaibench.influence.analysis import Influence
from xaibench.influence.histograms import Floats
from xaibench.influence.reads import SCORES, checked, performance
from xaibench.influence.reweighting import reweighted

VERSION = 1

TAUS = tuple(round(step / 20 - 1, 2) for step in range(41))
ENDS = (-1.0, 0.0, 1.0)


def curves(
    influence: Influence,
    images: Tensor,
    probabilities: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    pixels: Sequence[tuple[int, int]],
    seed: int = 0,
) -> dict[str, NDArray[Any]]:
    """Means of what is read of the predictions, from the low target of a pixel to the high one.

    Parameters
    ----------
    influence
        Its targets, regions, resamples and level are used; its taus are not.
    images, probabilities, labels, classes, seed
        As for `Influence`.
    pixels
        P pairs (row, column).

    Returns
    -------
    dict
        `means` (P, S, K + 3) at the S = 41 `TAUS`: the probability of each class, accuracy, log loss (nats) and Brier score; with
        `means_low` and `means_high` if there are resamples; and `effective` (P, S), the effective sample size.
    """
    given = checked(probabilities.cpu().numpy())
    read = performance(given, labels.cpu().numpy(), classes)
    values = np.column_stack([given, read.values[:, : len(SCORES)]])
    found = reweighted(chosen(influence, images, pixels), values, TAUS, influence.targets, None, influence.resamples, influence.level, seed)
    names = ("means", "means_low", "means_high", "effective")
    return {name: getattr(found, name) for name in names if getattr(found, name) is not None}


def mean_images(influence: Influence, images: Tensor, pixels: Sequence[tuple[int, int]]) -> Floats:
    """(P, 3, C, H, W): what the data set looks like on average at tau -1, 0 (as it is) and 1 of each pixel."""
    shape = tuple(images.shape[1:])
    found = reweighted(chosen(influence, images, pixels), images.flatten(1).cpu().numpy().astype(np.float64), ENDS, influence.targets)
    return found.means.reshape(len(pixels), len(ENDS), *shape)


def chosen(influence: Influence, images: Tensor, pixels: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """(N, P): the values of these pixels, or of their regions."""
    features, region = influence.features(images)
    height, width = region.shape
    if not pixels or any(not (0 <= row < height and 0 <= column < width) for row, column in pixels):
        raise ValueError(f"pixels={list(pixels)}: expected at least one (row, column) inside {height} x {width}")
    rows, columns = zip(*pixels, strict=True)
    return features[:, region[list(rows), list(columns)]]
