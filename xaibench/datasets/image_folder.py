"""A user's own images: files in folders, one for each class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xaibench.component import ConfigurationError, PositiveInt
from xaibench.datasets.splits import Share, cut, three_splits
from xaibench.problem import Arrays, Dataset, Split

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageFolder(Dataset):
    """Image files in ``path/train/CLASS/`` and ``path/test/CLASS/``, or in ``path/CLASS/`` alone, which is then split.

    An image is scaled until it covers `height` x `width`, and cut to that around its center. Values are in [0, 1]; what a network
    expects beyond that is its own first step (for `Checkpoint`, `mean` and `std`).

    Parameters
    ----------
    path
        The folder. Not part of any key: the files' content is.
    height, width, channels
        Of the images; 1 channel is luminance.
    class_names
        All classes of the network, in the order of its outputs; folders are named after some of them. Empty: the folders' names, sorted.
    test_share, validation_share
        Shares of all images, stratified by class, and fixed: where there is no ``test`` or no ``validation`` folder. Of a ``train``
        folder without ``validation``, the share of its images.
    """

    path: str = field(metadata={"runtime": True})
    height: PositiveInt
    width: PositiveInt
    channels: Literal[1, 3] = 3
    class_names: tuple[str, ...] = ()
    test_share: Share = 0.3
    validation_share: Share = 0.1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the network's outputs."""
        folders = sorted({file.parent.name for part in _files(self.path).values() for file in part})
        unknown = [name for name in folders if name not in self.class_names]
        if self.class_names and unknown:
            raise ConfigurationError(f"dataset.class_names: expected a name for each folder in {self.path}, and {unknown[0]} has none")
        return self.class_names or tuple(folders)

    def checksum(self) -> str:
        """sha256 over the files' names and content."""
        return _checksum(self.path)

    def load(self) -> Arrays:
        """Read all files."""
        parts = {part: self._read(files) for part, files in _files(self.path).items()}
        if "" in parts:
            return three_splits(parts[""].images, parts[""].labels, self.test_share, self.validation_share)
        train, test = parts["train"], parts["test"]
        if "validation" in parts:
            return Arrays(train, parts["validation"], test)
        return Arrays(*cut(train.images, train.labels, self.validation_share), test)

    def _read(self, files: tuple[Path, ...]) -> Split:
        places = {name: place for place, name in enumerate(self.classes)}
        labels = torch.tensor([places[file.parent.name] for file in files])
        return Split(torch.stack([read_image(file, self.height, self.width, self.channels) for file in files]), labels)


def read_image(file: Path, height: int, width: int, channels: int) -> Tensor:
    """(C, height, width) in [0, 1]: an image scaled until it covers this, and cut around its center."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            image = opened.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ConfigurationError(f"{file}: expected an image ({error})") from error
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.array(fitted, dtype=np.float32)) / 255
    return values[None] if channels == 1 else values.permute(2, 0, 1).contiguous()


@lru_cache(maxsize=8)
def _files(path: str) -> dict[str, tuple[Path, ...]]:
    """The image files of each part, sorted; all in the part "" where there are none."""
    root = Path(path)
    if not root.is_dir():
        raise ConfigurationError(f"dataset.path={path}: expected a folder with one folder of images for each class")
    there = [part for part in PARTS if (root / part).is_dir()]
    if there and not {"train", "test"} <= set(there):
        raise ConfigurationError(f"dataset.path={path}: expected the folders train and test, or classes alone; there is {', '.join(there)}")
    found = {part: _images(root / part) for part in there or ("",)}
    empty = [part for part, files in found.items() if not files]
    if empty:
        raise ConfigurationError(f"dataset.path={root / empty[0]}: expected a folder for each class, with files {', '.join(SUFFIXES)}")
    return found


def _images(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(file for file in folder.glob("*/*") if file.suffix.lower() in SUFFIXES))


@lru_cache(maxsize=8)
def _checksum(path: str) -> str:
    found = hashlib.sha256()
    for file in sorted(file for part in _files(path).values() for file in part):
        found.update(f"{file.relative_to(path).as_posix()}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()
