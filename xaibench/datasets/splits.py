"""Fixed splits, stratified by class."""

from __future__ import annotations

from typing import Annotated

import annotated_types
import numpy as np
from torch import Tensor

from xaibench.problem import Arrays, Split

VERSION = 1

SPLIT_SEED = 0

Share = Annotated[float, annotated_types.Gt(0), annotated_types.Lt(0.5)]
"""A share of the images, of which the greater part remains."""


def cut(images: Tensor, labels: Tensor, held_out: int | float) -> tuple[Split, Split]:
    """The remaining and the held-out part, both in the original order; `held_out` is a number or a share of the images."""
    from sklearn.model_selection import train_test_split

    kept, taken = train_test_split(np.arange(len(labels)), test_size=held_out, random_state=SPLIT_SEED, stratify=labels.numpy())
    kept.sort()
    taken.sort()
    return Split(images[kept], labels[kept]), Split(images[taken], labels[taken])


def three_splits(images: Tensor, labels: Tensor, test: float, validation: float) -> Arrays:
    """Training, validation and test part of a dataset that comes without a test set; shares of all images."""
    rest, tested = cut(images, labels, test)
    trained, validated = cut(rest.images, rest.labels, round(validation * len(labels)))
    return Arrays(trained, validated, tested)
