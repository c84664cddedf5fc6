"""A user's own images: files in folders, one for each class."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from xaibench.component import ConfigurationError, PositiveInt
from xaibench.datasets.decoded import decoded
from xaibench.datasets.own import OwnDataset

if TYPE_CHECKING:
    from PIL.Image import Image

LIBRARY = "pillow"

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageFolder(OwnDataset):
    """Image files in ``path/train/CLASS/`` and ``path/test/CLASS/``, in ``path/test/CLASS/`` alone, or in ``path/CLASS/``, which is then
    split.

    An image is scaled until it covers `height` x `width`, and cut to that around its center. Values are in [0, 1], of 8 or 16 bits or of
    floating point numbers in [0, 1]; what a network expects beyond that is its own first step (for `Checkpoint`, `mean` and `std`).
    Transparent pixels are laid on white. Files and folders whose names begin with a dot are left out. Decoded images of more than 256 MiB
    are kept in the download cache and mapped into memory, see `decoded`.

    Parameters
    ----------
    height, width, channels
        Of the images; 1 channel is luminance.
    class_names
        As in `OwnDataset`; folders are named after some of them. Empty: the folders' names, sorted.
    test_share, validation_share
        As in `OwnDataset`, where there is no ``test`` or no ``validation`` folder.
    """

    height: PositiveInt
    width: PositiveInt
    channels: Literal[1, 3] = 3

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

    def digest(self) -> str:
        """sha256 over the files' names and content."""
        return _checksum(self.path)

    def counts(self) -> Mapping[str, int]:
        """How many files each part has."""
        return {part: len(files) for part, files in _files(self.path).items()}

    def labels(self) -> Mapping[str, Tensor]:
        """The places of the folders' names among the classes."""
        places = {name: place for place, name in enumerate(self.classes)}
        return {part: torch.tensor([places[file.parent.name] for file in files]) for part, files in _files(self.path).items()}

    def images(self, part: str, rows: Tensor) -> Tensor:
        """Decode files of a part, or read what was decoded before, see `decoded`."""
        files = [_files(self.path)[part][row] for row in rows.tolist()]
        names = "\0".join(file.relative_to(self.path).as_posix() for file in files)
        known = (self.checksum(), self.shape, names, importlib.metadata.version(LIBRARY), Path(__file__).read_text(encoding="utf-8"))
        read = partial(read_image, height=self.height, width=self.width, channels=self.channels)
        return decoded(files, read, self.shape, hashlib.sha256(repr(known).encode()).hexdigest()[:24])


def read_image(file: Path, height: int, width: int, channels: int) -> Tensor:
    """(C, height, width) in [0, 1]: an image scaled until it covers this, and cut around its center."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            image = _opaque(opened, "L" if channels == 1 else "RGB")
    except Exception as error:  # whatever Pillow raises of a file that is damaged, or too large
        raise ConfigurationError(f"{file}: expected an image ({type(error).__name__}: {error})") from error
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.array(fitted, dtype=np.float32)) / (1 if image.mode == "F" else 255)
    return values.permute(2, 0, 1).contiguous() if values.dim() == 3 else values.clamp(0, 1).expand(channels, -1, -1).contiguous()


def _opaque(image: Image, mode: str) -> Image:
    """In 8 bits, on white; or, of finer gray values, as numbers in [0, 1]."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # Pillow's mode of 16 bits depends on its version
        return Image.fromarray(np.array(image).astype(np.float32) / 65535)
    if image.mode in ("I", "F"):
        content = np.array(image)
        low, high = content.min(), content.max()
        if image.mode == "I" or not 0 <= low <= high <= 1:
            raise ValueError(f"mode {image.mode}, from {low:g} to {high:g}; expected 8 or 16 bits, or floating point numbers in [0, 1]")
        return Image.fromarray(content)
    if not image.has_transparency_data:
        return image.convert(mode)
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert(mode)


@lru_cache(maxsize=8)
def _files(path: str) -> dict[str, tuple[Path, ...]]:
    """The image files of each part, sorted; all in the part "" where there are none."""
    root = Path(path)
    if not root.is_dir():
        raise ConfigurationError(f"dataset.path={path}: expected a folder with one folder of images for each class")
    there = [part for part in PARTS if (root / part).is_dir()]
    if there and ("test" not in there or there == ["validation", "test"]):
        told = ", ".join(there)
        raise ConfigurationError(f"dataset.path={path}: expected the folders train and test, test alone, or classes alone; there is {told}")
    found = {part: _images(root / part) for part in there or ("",)}
    empty = [part for part, files in found.items() if not files]
    if empty:
        raise ConfigurationError(f"dataset.path={root / empty[0]}: expected a folder for each class, with files {', '.join(SUFFIXES)}")
    return found


def _images(folder: Path) -> tuple[Path, ...]:
    shown = (file for file in folder.glob("*/*") if not any(name.startswith(".") for name in (file.name, file.parent.name)))
    return tuple(sorted(file for file in shown if file.suffix.lower() in SUFFIXES))


@lru_cache(maxsize=8)
def _checksum(path: str) -> str:
    found = hashlib.sha256()
    for file in sorted(file for part in _files(path).values() for file in part):
        found.update(f"{file.relative_to(path).as_posix()}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()
