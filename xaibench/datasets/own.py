"""What a user's own data sets have in common: what they are called, what they are known by, and how they are divided."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from xaibench.component import ConfigurationError
from xaibench.datasets.splits import TestShare, ValidationShare, arranged, sizes
from xaibench.problem import Arrays, Dataset, Split


@dataclass(frozen=True)
class OwnDataset(Dataset):
    """Images in files, with a test set and training images, or one set that is split.

    Without training images the test images stand in for them where a method needs a background; then, and without validation images,
    no network can be trained, but one with given weights can be explained.

    Parameters
    ----------
    path
        Where they are. Not part of any key: the content is.
    name
        What they are called in tables beside others; the path's last part where it is empty. Not part of any key.
    class_names
        All classes, in the order of the network's outputs.
    test_share
        Of all images, stratified by class, and fixed, where there is no test set; 1 takes all.
    validation_share
        Of all images, or of the training images where there is a test set; 0 where nothing is to be trained.
    sha256
        Of the content; found out where it is not given, else compared.
    """

    path: str = field(metadata={"runtime": True})
    name: str = field(default="", kw_only=True, metadata={"runtime": True, "shown": True})
    class_names: tuple[str, ...] = field(default=(), kw_only=True)
    test_share: TestShare = field(default=0.3, kw_only=True)
    validation_share: ValidationShare = field(default=0.1, kw_only=True)
    sha256: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        twice = [name for place, name in enumerate(self.class_names) if name in self.class_names[:place]]
        if twice:
            raise ConfigurationError(f"dataset.class_names: expected a name for each class, and {twice[0]} stands there twice")
        found, place = self.digest(), Path(self.path).absolute()
        if self.sha256 not in ("", found):
            raise ConfigurationError(f"dataset.sha256={self.sha256}: expected {found}, which {self.path} has")
        object.__setattr__(self, "sha256", found)
        object.__setattr__(self, "name", self.name or (place.name if place.is_dir() else place.stem))

    @property
    def train_images(self) -> int:
        """How many training images there are, or images that stand in for them."""
        return sizes(self.counts(), self.test_share, self.validation_share)[0]

    @property
    def test_images(self) -> int:
        """How many test images."""
        return sizes(self.counts(), self.test_share, self.validation_share)[1]

    def checksum(self) -> str:
        """sha256 of the content."""
        return self.sha256

    def load(self) -> Arrays:
        """Divide the images by their labels, then read them."""
        labels = self.labels()
        places = {
            part: torch.stack([torch.full_like(found, place), torch.arange(len(found))], 1)
            for place, (part, found) in enumerate(labels.items())
        }
        divided = arranged({part: Split(places[part], labels[part]) for part in labels}, self.test_share, self.validation_share)
        train, validation, test = divided.train, divided.validation, divided.test
        tested = self._read(test)
        return Arrays(tested if train is test else self._read(train), self._read(validation), tested)

    @abstractmethod
    def digest(self) -> str:
        """sha256 of the content."""

    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """How many images there are in train, validation and test, as far as there are these; in the part "" where they are not divided."""

    @abstractmethod
    def labels(self) -> Mapping[str, Tensor]:
        """The labels of the images in each part, int64."""

    @abstractmethod
    def images(self, part: str, rows: Tensor) -> Tensor:
        """Images of a part, of which there is at least one: (N, C, H, W), float32 in [0, 1]."""

    def _read(self, split: Split) -> Split:
        """The images of these places, (part, row) each, all of one part."""
        if not len(split.labels):
            return Split(torch.empty(0, *self.shape), split.labels)
        part = [*self.counts()][int(split.images[0, 0])]
        return Split(self.images(part, split.images[:, 1]), split.labels)
