"""A user's own images: arrays in a numpy file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xaibench.component import ConfigurationError
from xaibench.datasets.own import OwnDataset

WANTED = ("images", "labels"), ("train_images", "train_labels", "test_images", "test_labels"), ("test_images", "test_labels")
"""The arrays that a file holds: the first of these that are all there."""


@dataclass(frozen=True)
class Npz(OwnDataset):
    """Images and labels in one ``.npz`` file: ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``, the latter two
    alone, or ``images`` and ``labels``, which are then split.

    Images are (N, C, H, W) or (N, H, W), bytes or numbers in [0, 1]; labels (N,) are integers from 0. The fields are those of
    `OwnDataset`; where `class_names` is empty, the classes are the numbers 0, 1, ... up to the largest label.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return _shape(next(part for name, part in _content(self.path).items() if name.endswith("images")))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the network's outputs."""
        largest = max(int(part.max()) for name, part in _content(self.path).items() if name.endswith("labels"))
        if self.class_names and len(self.class_names) <= largest:
            raise ConfigurationError(f"dataset.class_names: expected at least {largest + 1} names, as there is label {largest}")
        return self.class_names or tuple(map(str, range(largest + 1)))

    def digest(self) -> str:
        """sha256 of the arrays."""
        return _checksum(self.path)

    def counts(self) -> Mapping[str, int]:
        """How many images each part has."""
        content = _content(self.path)
        return {part: len(content[f"{part}_labels".lstrip("_")]) for part in _parts(content)}

    def labels(self) -> Mapping[str, Tensor]:
        """The parts' labels."""
        content = _content(self.path)
        return {part: _labels(content[f"{part}_labels".lstrip("_")]) for part in _parts(content)}

    def images(self, part: str, rows: Tensor) -> Tensor:
        """Images of a part."""
        return _images(_content(self.path)[f"{part}_images".lstrip("_")][rows.numpy()])


@lru_cache(maxsize=2)
def _content(path: str) -> Mapping[str, NDArray]:
    """The arrays, checked."""
    if not Path(path).is_file():
        raise ConfigurationError(f"dataset.path={path}: expected a .npz file")
    try:
        with Path(path).open("rb") as opened, np.load(opened) as file:
            content = {name: file[name] for name in file.files}
    except Exception as error:  # whatever numpy raises of a file that is damaged, or not of this kind
        told = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"dataset.path={path}: expected a whole .npz file without pickled objects ({told})") from error
    chosen = next((names for names in WANTED if set(names) <= set(content)), None)
    if chosen is None:
        given = ", ".join(content) or "nothing"
        told = ", or ".join(" and ".join(names) for names in WANTED)
        raise ConfigurationError(f"dataset.path={path}: expected {told}; got {given}")
    for images, labels in zip(chosen[::2], chosen[1::2], strict=True):
        _check(path, images, content[images], labels, content[labels])
    shapes = {name: content[name].shape for name in chosen[::2]}
    if len({_shape(content[name]) for name in shapes}) > 1:
        told = ", ".join(f"{name} of shape {shape}" for name, shape in shapes.items())
        raise ConfigurationError(f"dataset.path={path}: expected images of one shape, got {told}")
    return {name: content[name] for name in chosen}


def _parts(content: Iterable[str]) -> list[str]:
    return [name.removesuffix("images").removesuffix("_") for name in content if name.endswith("images")]


def _shape(images: NDArray) -> tuple[int, int, int]:
    """Channels, height, width."""
    channels, height, width = images[:, None].shape[1:] if images.ndim == 3 else images.shape[1:]
    return channels, height, width


def _check(path: str, name: str, images: NDArray, labels_name: str, labels: NDArray) -> None:
    told = f"dataset.path={path}: {name} of shape {images.shape} and type {images.dtype}"
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[1] not in (1, 3)) or not images.size:
        raise ConfigurationError(f"{told}: expected (N, H, W), or (N, C, H, W) with 1 or 3 channels, of at least one image")
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
