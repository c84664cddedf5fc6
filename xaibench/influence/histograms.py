"""Images counted by the value of each feature: all that the reweighting of images by one feature needs to know of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

VERSION = 1

Floats = NDArray[np.float64]

BLOCK = 2**24
"""Features are taken in blocks of at most so many numbers: (image, feature), and whatever else there is for each feature."""

LEVELS = 256
"""Of a pixel of 8 bits."""


@dataclass(frozen=True)
class Histograms:
    """For each feature its distinct values, and for each value the images that have it.

    Attributes
    ----------
    values
        (F, M), float64, ascending; features with fewer values are filled up with their largest one.
    counts
        (F, M): the images that have the value, or their weight; 0 where it is filled up.
    sums
        (F, M, R): the sums over these images of what is read of each.
    """

    values: Floats
    counts: Floats
    sums: Floats


@dataclass(frozen=True)
class Coded:
    """The features of a block as numbers of their values.

    Attributes
    ----------
    features
        Which of all features these are.
    values
        (F, M), float64, see `Histograms`.
    numbers
        (N, F): which of its values each image has.
    cells
        (F M, N), sparse, 1 where the image has the feature's value; without the rows of `common`.
    common
        (F,): the number of each feature's most frequent value, which most images have: it is what the others leave.
    """

    features: slice
    values: Floats
    numbers: NDArray[np.int64]
    cells: sparse.csr_array
    common: NDArray[np.int64]

    def histograms(self, reads: Floats, weights: Floats) -> Iterator[Histograms]:
        """One for each column of the weights (N, B), with the weighted sums of the reads (N, R)."""
        (count, size), numbers = self.values.shape, np.arange(len(self.values))
        one = np.column_stack([np.ones(len(reads)), reads])
        for weight in weights.T:
            read = one * weight[:, None]
            found = np.asarray(self.cells @ read).reshape(count, size, -1)
            found[numbers, self.common] = read.sum(axis=0) - found.sum(axis=1)
            yield Histograms(self.values, found[..., 0], found[..., 1:])


def coded(features: NDArray, per_value: int, per_feature: int = 0) -> Iterator[Coded]:
    """Blocks of the features (N, F), of any number type; the caller holds so many numbers for each value, and for each feature."""
    images, total = features.shape
    size = max(1, BLOCK // max(images, min(images, LEVELS) * per_value, per_feature))
    for start in range(0, total, size):
        part = slice(start, min(start + size, total))
        values, codes = _values(features[:, part])
        yield _block(part, values, codes)


def _block(part: slice, values: Floats, codes: NDArray[np.int64]) -> Coded:
    """Of values (F, M) and their numbers (N, F) in them."""
    images, (count, size) = len(codes), values.shape
    rows = codes + size * np.arange(count)
    common = np.bincount(rows.ravel(), minlength=count * size).reshape(count, size).argmax(axis=1)
    image, feature = np.nonzero(codes != common)
    cells = sparse.csr_array((np.ones(len(image)), (rows[image, feature], image)), shape=(count * size, images))
    return Coded(part, values, codes, cells, common)


def _values(features: NDArray) -> tuple[Floats, NDArray[np.int64]]:
    """The distinct values (F, M) of each feature and their numbers (N, F)."""
    levels = _levels(features)
    if levels is not None:
        scale = 1 if features.dtype == np.uint8 else LEVELS - 1
        grid = (np.arange(LEVELS, dtype=features.dtype) / scale).astype(features.dtype).astype(np.float64)
        return np.broadcast_to(grid, (features.shape[1], LEVELS)), levels
    found = [np.unique(column, return_inverse=True) for column in features.T.astype(np.float64)]
    longest = max(len(values) for values, _ in found)
    values = np.stack([np.pad(values, (0, longest - len(values)), mode="edge") for values, _ in found])
    return values, np.stack([numbers.reshape(-1) for _, numbers in found], axis=1)


def _levels(features: NDArray) -> NDArray[np.int64] | None:
    """The numbers of 8 bits that the features are, or are 255 times; None where they are not."""
    if features.dtype == np.uint8:
        return features.astype(np.int64)
    if not np.issubdtype(features.dtype, np.floating):
        return None
    levels = np.rint(features * (LEVELS - 1))
    inside = levels.size > 0 and levels.min() >= 0 and levels.max() < LEVELS
    exact = inside and np.array_equal((levels / (LEVELS - 1)).astype(features.dtype), features)
    return levels.astype(np.int64) if exact else None
