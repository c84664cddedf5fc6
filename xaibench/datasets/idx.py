"""Datasets in idx archives: read from the folder that `XAIBENCH_DATA` names, or from a verified download."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xaibench.component import PositiveInt, UserError
from xaibench.datasets.splits import cut
from xaibench.problem import Arrays, Dataset, Split

VERSION = 1

FOLDER_SETTING = "XAIBENCH_DATA"


class DataError(UserError, RuntimeError):
    """Data is absent and cannot be fetched, or is not what it should be."""


@dataclass(frozen=True)
class IdxDataset(Dataset):
    """60,000 training and 10,000 test images of 28 x 28 grey pixels in the four published files.

    Parameters
    ----------
    validation
        How many of the training images are held out for validation: stratified by class, and fixed.
    """

    folder: ClassVar[str]
    mirror: ClassVar[str]
    sha256: ClassVar[Mapping[str, str]]
    classes: ClassVar[tuple[str, ...]]
    shape: ClassVar = (1, 28, 28)
    test_images: ClassVar = 10_000

    validation: PositiveInt = 5000

    @property
    def train_images(self) -> int:
        """All but those for validation."""
        return 60_000 - self.validation

    def checksum(self) -> str:
        """sha256 over the checksums of the four published files."""
        return hashlib.sha256("".join(self.sha256.values()).encode()).hexdigest()

    def load(self) -> Arrays:
        """Read, or download, and verify the four files: training images and labels, test images and labels."""
        content = [read(self.folder, file, checksum, self.mirror) for file, checksum in self.sha256.items()]
        images, labels, test_images, test_labels = content
        train, validation = cut(images[:, None].float() / 255, labels.long(), self.validation)
        return Arrays(train, validation, Split(test_images[:, None].float() / 255, test_labels.long()))


def read(name: str, file: str, sha256: str, mirror: str) -> Tensor:
    """An idx archive's content, uint8, in the shape that its header gives.

    Parameters
    ----------
    name
        The dataset's folder, below ``XAIBENCH_DATA`` or below the download cache.
    file, sha256
        The gzip-compressed file and its checksum.
    mirror
        Address that `file` is appended to for a download.

    Raises
    ------
    DataError
        If the file is neither there nor to be had, or does not have its checksum.
    """
    path = _find(name, file, sha256, mirror)
    packed = path.read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != sha256:
        raise DataError(f"{path} ({len(packed)} bytes) has sha256 {found}: expected {sha256}; the file is truncated or altered")
    content = gzip.decompress(packed)
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", count=dimensions, offset=4).astype(int)
    pixels = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    return torch.from_numpy(pixels.reshape(shape).copy())


def _find(name: str, file: str, sha256: str, mirror: str) -> Path:
    folder = os.environ.get(FOLDER_SETTING)
    if folder and (Path(folder) / name / file).is_file():
        return Path(folder) / name / file
    import pooch

    cache = Path(pooch.os_cache("xaibench")) / name
    try:
        return Path(pooch.retrieve(mirror + file, known_hash=f"sha256:{sha256}", fname=file, path=cache))
    except Exception as error:  # whatever the download raises, the user needs the two ways out
        setting = f"{FOLDER_SETTING}={folder!r} has no {name}/{file}" if folder else f"{FOLDER_SETTING} is not set"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"dataset={name}: {setting} and the download of {mirror}{file} failed ({reason})") from error
