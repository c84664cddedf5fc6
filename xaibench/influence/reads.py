"""What is read of images from predictions alone: probabilities, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xaibench.influence.histograms import Floats

VERSION = 1

SCORES = ("accuracy", "log_loss", "brier")
"""What `performance` reads first; the recalls come after."""

SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from a sum of 1; rounding in files and in float32 is far below."""


class Reads(NamedTuple):
    """R numbers of each of N images, averaged as sum(weight x values) / sum(weight x per).

    Attributes
    ----------
    names
        (R,).
    values, per
        (N, R).
    """

    names: tuple[str, ...]
    values: Floats
    per: Floats


def performance(probabilities: NDArray, labels: NDArray, classes: Sequence[str]) -> Reads:
    """How good predictions are.

    Parameters
    ----------
    probabilities
        (N, K), each row sums to 1; float32 is taken as it is.
    labels
        (N,), the true classes, from 0.
    classes
        (K,), their names.

    Returns
    -------
    Reads
        `accuracy`, in [0, 1]; `log_loss`, nats, of the true class, whose probability is taken to be at least the smallest float64 above 0;
        `brier`, the squared distance to the one-hot label, in [0, 2]; and `recall_<class>` in [0, 1], over the images of the class.

    Raises
    ------
    ValueError
        See `checked`; or if labels are missing or not those of a class.
    """
    found = checked(probabilities)
    count, kinds = found.shape
    if labels.shape != (count,):
        raise ValueError(f"labels of shape {labels.shape}: expected ({count},), one for each row of probabilities")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= kinds:
        raise ValueError(f"labels: expected whole numbers from 0 to {kinds - 1}, got {labels.dtype} from {labels.min()} to {labels.max()}")
    actual = np.eye(kinds)[labels]
    right = (found.argmax(axis=1) == labels).astype(np.float64)
    loss = -np.log(np.maximum(found[np.arange(count), labels], np.finfo(np.float64).tiny))
    brier = ((found - actual) ** 2).sum(axis=1)
    names = (*SCORES, *(f"recall_{name}" for name in classes))
    ones = np.ones((count, len(SCORES)))
    return Reads(names, np.column_stack([right, loss, brier, actual * right[:, None]]), np.column_stack([ones, actual]))


def checked(probabilities: NDArray) -> Floats:
    """The probabilities as float64.

    Raises
    ------
    ValueError
        If they are not (N, K), or a row holds what is no probability or does not sum to 1: with the row and what was found.
    """
    found = np.asarray(probabilities, dtype=np.float64)
    if found.ndim != 2 or not found.size:
        raise ValueError(f"probabilities of shape {found.shape}: expected (images, classes)")
    with np.errstate(invalid="ignore"):
        wrong = ~((found >= 0) & (found <= 1 + SUM_TOLERANCE)).all(axis=1) | ~(np.abs(found.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if wrong.any():
        row = int(wrong.argmax())
        text = f"row {row} holds {found[row].min():.4g} to {found[row].max():.4g} and sums to {found[row].sum():.4g}"
        raise ValueError(f"probabilities: expected each row in [0, 1] with a sum of 1; {wrong.sum()} rows are not: {text}")
    return found
