"""A user's own images: arrays in a numpy file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xaibench.component import ConfigurationError
from xaibench.datasets.splits import Share, cut, three_splits
from xaibench.problem import Arrays, Dataset, Split


@dataclass(frozen=True)
class Npz(Dataset):
    """Images and labels in one ``.npz`` file: ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``, or ``images`` and
    ``labels`` alone, which are then split.

    Images are (N, C, H, W) or (N, H, W), bytes or numbers in [0, 1]; labels (N,) are integers from 0.

    Parameters
    ----------
    path
        The file. Not part of any key: its content is.
    class_names
        The classes' names, in the order of the network's outputs. Empty: the numbers 0, 1, ... up to the largest label.
    test_share, validation_share
        Shares of all images, stratified by class, and fixed; of a training set, the share of its images.
    """

    path: str = field(metadata={"runtime": True})
    class_names: tuple[str, ...] = ()
    test_share: Share = 0.3
    validation_share: Share = 0.1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        content = _content(self.path)
        found = content["test_images" if "test_images" in content else "images"].shape
        return (found[1], found[2], found[3]) if len(found) == 4 else (1, found[1], found[2])

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the network's outputs."""
        largest = max(int(part.max()) for name, part in _content(self.path).items() if name.endswith("labels"))
        if self.class_names and len(self.class_names) <= largest:
            raise ConfigurationError(f"dataset.class_names: expected at least {largest + 1} names, as there is label {largest}")
        return self.class_names or tuple(map(str, range(largest + 1)))

    def checksum(self) -> str:
        """sha256 of the arrays."""
        return _checksum(self.path)

    def load(self) -> Arrays:
        """Read the arrays."""
        content = _content(self.path)
        if "images" in content:
            return three_splits(_images(content["images"]), _labels(content["labels"]), self.test_share, self.validation_share)
        test = Split(_images(content["test_images"]), _labels(content["test_labels"]))
        return Arrays(*cut(_images(content["train_images"]), _labels(content["train_labels"]), self.validation_share), test)


@lru_cache(maxsize=2)
def _content(path: str) -> Mapping[str, NDArray]:
    """The arrays, checked."""
    if not Path(path).is_file():
        raise ConfigurationError(f"dataset.path={path}: expected a .npz file")
    try:
        with np.load(path) as file:
            content = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"dataset.path={path}: expected a .npz file without pickled objects ({error})") from error
    wanted = ("images", "labels"), ("train_images", "train_labels", "test_images", "test_labels")
    chosen = next((names for names in wanted if set(names) <= set(content)), None)
    if chosen is None:
        given = ", ".join(content) or "nothing"
        raise ConfigurationError(f"dataset.path={path}: expected {' and '.join(wanted[0])}, or {', '.join(wanted[1])}; got {given}")
    for images, labels in zip(chosen[::2], chosen[1::2], strict=True):
        _check(path, images, content[images], labels, content[labels])
    return {name: content[name] for name in chosen}


def _check(path: str, name: str, images: NDArray, labels_name: str, labels: NDArray) -> None:
    told = f"dataset.path={path}: {name} of shape {images.shape} and type {images.dtype}"
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[1] not in (1, 3)):
        raise ConfigurationError(f"{told}: expected (N, H, W), or (N, C, H, W) with 1 or 3 channels")
    if images.dtype != np.uint8 and not (images.dtype.kind == "f" and images.min() >= 0 and images.max() <= 1):
        between = f" between {images.min():.3g} and {images.max():.3g}" if images.dtype.kind in "fiu" else ""
        hint = "; normalization is the network's own first step (model.mean, model.std)"
        raise ConfigurationError(f"{told}{between}: expected bytes, or numbers in [0, 1]{hint}")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        kind = f"{labels_name} of shape {labels.shape} and type {labels.dtype}"
        raise ConfigurationError(f"dataset.path={path}: {kind}: expected ({len(images)},) integers from 0")


def _images(values: NDArray) -> Tensor:
    found = torch.from_numpy(values).float() / (255 if values.dtype == np.uint8 else 1)
    return found if found.dim() == 4 else found[:, None]


def _labels(values: NDArray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))


@lru_cache(maxsize=2)
def _checksum(path: str) -> str:
    found = hashlib.sha256()
    for name, values in sorted(_content(path).items()):
        found.update(f"{name} {values.dtype.str} {values.shape}\0".encode())
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()
