"""The contracts of data and networks: a dataset's arrays, and what a model is. Components import them from `problem`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from xaibench.component import Component, NonNegativeInt, PositiveFloat, PositiveInt

VERSION = 1


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W), float32 in [0, 1], and their labels (N,), int64."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Arrays:
    """A dataset's content. `validation` is cut from the training data; `test` is for evaluation only.

    `test_masks`, where the true relevance is known, is bool: (N, H, W) for all classes alike, or (N, K, H, W), one for each class.
    """

    train: Split
    validation: Split
    test: Split
    test_masks: Tensor | None = None


@dataclass(frozen=True)
class Dataset(Component):
    """Images with classes. `subset_seed` chooses the test images that are explained, the same ones for every model and seed.

    `shape`, `classes` and `has_masks` belong to the class where its fields do not change them.
    """

    subset_seed: ClassVar[int] = 0

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of a network's outputs."""

    @property
    def has_masks(self) -> bool:
        """Whether the true relevance is known."""
        return False

    @property
    def train_images(self) -> int | None:
        """How many training images there are, where that is known before they are read."""
        return None

    @property
    def test_images(self) -> int | None:
        """How many test images."""
        return None

    @property
    def untrainable(self) -> str:
        """Why no network can be trained with it, or ""."""
        return ""

    @abstractmethod
    def checksum(self) -> str:
        """Identifies the content: part of every key that depends on the data."""

    @abstractmethod
    def load(self) -> Arrays:
        """Read (or download) and verify the data."""


@dataclass(frozen=True)
class Recipe(Component):
    """How a network is trained unless the trainer says otherwise: the settings of its source, where the source gives them."""

    optimizer: Literal["adam", "adamw", "sgd", "adadelta"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 128
    keep: Literal["best", "last"] = "best"
    patience: NonNegativeInt = 0


@dataclass(frozen=True)
class Model(Component):
    """A network's architecture.

    Attributes
    ----------
    recipe
        How it is trained unless the trainer says otherwise.
    reconstructs
        Of the class: whether it is an autoencoder, which gives images and is fitted to them, or a classifier.
    fixed
        Of the class: whether its weights are given (`pretrained`), and all seeds have the same.
    """

    recipe: ClassVar[Recipe] = Recipe()
    reconstructs: ClassVar[bool] = False
    fixed: ClassVar[bool] = False

    def pretrained(self, image_shape: tuple[int, int, int], classes: int) -> Mapping[str, Tensor] | None:
        """Weights that are given, by their names in what `build` makes, so that nothing is trained; None: they are trained."""
        return None

    @abstractmethod
    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A freshly initialized network that takes images in [0, 1] of this shape and gives `classes` logits."""

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return None

    @property
    def untrainable(self) -> str:
        """Why it cannot be trained from new weights, or ""."""
        return ""
