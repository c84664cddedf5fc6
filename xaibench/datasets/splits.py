"""Fixed splits, stratified by class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import annotated_types
import numpy as np
from torch import Tensor

from xaibench.component import ConfigurationError
from xaibench.problem import Arrays, Split

VERSION = 1

SPLIT_SEED = 0

Share = Annotated[float, annotated_types.Gt(0), annotated_types.Lt(0.5)]
"""A share of the images, of which the greater part remains."""

TestShare = Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)]
"""A share of the images, or all."""

ValidationShare = Annotated[float, annotated_types.Ge(0), annotated_types.Lt(0.5)]
"""A share of the images, or none."""


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


def arranged(parts: Mapping[str, Split], test: float, validation: float) -> Arrays:
    """Training, validation and test part of a user's images, which are cut from those in the part "" or "train" where there are none.

    Shares of all images, or, where there is a test set, of the training images. A part may come out empty; the test images stand in for
    training images.

    Raises
    ------
    ConfigurationError
        If a part cannot have images of each class.
    """
    if "" in parts:
        rest, tested = _held_out(parts[""], test, f"dataset.test_share={test}")
        amount: int | float = round(validation * len(parts[""].labels))
    else:
        tested, amount = parts["test"], validation
        rest = parts.get("train", Split(tested.images[:0], tested.labels[:0]))
    if "validation" in parts:
        trained, validated = rest, parts["validation"]
    else:
        trained, validated = _held_out(rest, amount, f"dataset.validation_share={validation}")
    return Arrays(trained if len(trained.labels) else tested, validated, tested)


def sizes(counts: Mapping[str, int], test: float, validation: float) -> tuple[int, int]:
    """How many training and test images `arranged` gives."""
    if "" in counts:
        tested = math.ceil(test * counts[""])
        trained = max(0, counts[""] - tested - round(validation * counts[""]))
    else:
        tested, trained = counts["test"], counts.get("train", 0)
        trained -= 0 if "validation" in counts else math.ceil(validation * trained)
    return trained or tested, tested


def _held_out(split: Split, amount: int | float, told: str) -> tuple[Split, Split]:
    """The remaining and the held-out part: none, all, or a number or a share that leaves each class in both."""
    none, count = Split(split.images[:0], split.labels[:0]), len(split.labels)
    if not amount or not count:
        return split, none
    if amount == 1.0 and isinstance(amount, float):
        return none, split
    try:
        return cut(split.images, split.labels, amount)
    except ValueError as error:
        classes, fewest = len(split.labels.unique()), int(split.labels.bincount()[split.labels.unique()].min())
        held = f"of {count} images of {classes} classes, the smallest of {fewest}"
        more = "1 to explain all" if "test" in told else "0 where nothing is trained"
        raise ConfigurationError(f"{told}: expected a share that leaves each class images in both parts ({held}), or {more}") from error
