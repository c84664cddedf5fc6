"""Which test images are explained, for which classes, and against which background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench.component import Component, ConfigurationError, NonNegativeInt, PositiveInt
from xaibench.problem import Arrays

VERSION = 1


@dataclass(frozen=True)
class ExplainOn(Component):
    """The test images that are explained, and the classes they are explained for.

    The order in which images are considered comes from the dataset's `subset_seed` alone, so that all models and seeds explain the
    same ones. Conditions on the prediction depend on the model; their results are compared on the images that all models share.

    Parameters
    ----------
    count
        How many images, after all conditions; null takes all.
    indices
        Positions in the test set, instead of a choice.
    per_class
        How many images of each true class; null sets no such limit.
    order
        ``random``: as the dataset's `subset_seed` shuffles them; ``first``: as they stand in the test set.
    true_class, predicted_class
        Only images of these classes.
    correct
        Only rightly (true) or wrongly (false) classified images.
    targets
        The classes to explain: the ``predicted`` one, the true ``label``, the ``second`` most likely, ``all``, all ``others`` than the
        predicted one (ascending), or a list of classes.
    background
        How many training images, drawn with `subset_seed`, stand for "absent".
    """

    count: PositiveInt | None = 500
    indices: tuple[NonNegativeInt, ...] | None = None
    per_class: PositiveInt | None = None
    order: Literal["random", "first"] = "random"
    true_class: tuple[NonNegativeInt, ...] | None = None
    predicted_class: tuple[NonNegativeInt, ...] | None = None
    correct: bool | None = None
    targets: Literal["predicted", "label", "second", "all", "others"] | tuple[NonNegativeInt, ...] = "predicted"
    background: PositiveInt = 100

    def rows(self, labels: Tensor, predicted: Tensor, subset_seed: int) -> Tensor:
        """Positions in the test set, ascending."""
        size = len(labels)
        if self.indices is not None:
            if not self.indices or max(self.indices) >= size:
                raise ConfigurationError(f"explain_on.indices={self.indices}: expected positions below {size}, the size of the test set")
            return torch.tensor(sorted(set(self.indices)))
        order = torch.arange(size)
        if self.order == "random":
            order = torch.randperm(size, generator=torch.Generator().manual_seed(subset_seed))
        order = order[self._fits(labels, predicted)[order]]
        if self.per_class is not None:
            of_class = torch.nn.functional.one_hot(labels[order], int(labels.max()) + 1)
            rank = (of_class.cumsum(0) * of_class).sum(1)  # 1 for the first image of its class
            order = order[rank <= self.per_class]
        chosen = order[: self.count]
        if not len(chosen):
            raise ConfigurationError(f"explain_on={self}: expected conditions that at least one test image meets")
        return chosen.sort().values

    def most(self, classes: int, size: int) -> int:
        """The most images that it can choose of a test set of this size."""
        count = len(self.indices) if self.indices else min(self.count or size, size)
        return min(count, self.per_class * classes) if self.per_class else count

    def classes(self, labels: Tensor, logits: Tensor) -> Tensor:
        """(B, T): the classes to explain for images with these labels (B,) and logits (B, K)."""
        classes, predicted = logits.shape[1], logits.argmax(1)
        if self.targets == "predicted":
            return predicted[:, None]
        if self.targets == "label":
            return labels[:, None]
        if self.targets == "second":
            return logits.scatter(1, predicted[:, None], -torch.inf).argmax(1, keepdim=True)
        every = torch.arange(classes).expand(len(labels), -1)
        if self.targets == "others":
            return every[every != predicted[:, None]].reshape(len(labels), classes - 1)
        chosen = tuple(range(classes)) if self.targets == "all" else tuple(int(target) for target in self.targets)
        if not chosen or max(chosen) >= classes:
            raise ConfigurationError(f"explain_on.targets={self.targets}: expected classes below {classes}")
        return torch.tensor(chosen).repeat(len(labels), 1)

    def background_rows(self, size: int, subset_seed: int) -> Tensor:
        """Positions of the background among `size` training images, ascending."""
        order = torch.randperm(size, generator=torch.Generator().manual_seed(subset_seed))
        return order[: self.background].sort().values

    def _fits(self, labels: Tensor, predicted: Tensor) -> Tensor:
        fits = torch.ones(len(labels), dtype=torch.bool)
        if self.true_class is not None:
            fits &= torch.isin(labels, torch.tensor(self.true_class))
        if self.predicted_class is not None:
            fits &= torch.isin(predicted, torch.tensor(self.predicted_class))
        if self.correct is not None:
            fits &= (labels == predicted) == self.correct
        return fits


def background(arrays: Arrays, explain_on: ExplainOn, subset_seed: int) -> Tensor:
    """(M, C, H, W): the training images that stand for "absent"."""
    return arrays.train.images[explain_on.background_rows(len(arrays.train.labels), subset_seed)]
