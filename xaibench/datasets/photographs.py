"""Cuts of two photographs, of any size: for time and memory, with no download."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xaibench.component import PositiveInt
from xaibench.datasets.generated import GeneratedDataset
from xaibench.problem import Arrays, Split

LIBRARY = "pillow"

SHA256 = {
    "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
}
"""Of the files, by name; a class each."""

SMALLEST = 128
"""The least side of a cut, in the photograph's pixels."""


@dataclass(frozen=True)
class Photographs(GeneratedDataset):
    """Square cuts of two photographs, a building and a flower, at random places and scales, as large as is asked for.

    A training or validation image is a cut of one photograph. A test image has its left half from a cut of one and its right half from
    a cut of the other, in random order; its label is the class of a random half. Masks, one for each class: the half that shows it. With
    two scenes it says nothing of how good an explanation is: it is for what large images cost.

    Parameters
    ----------
    side
        Of an image, in pixels.
    train_images, validation_images, test_images
        How many.

    References
    ----------
    scikit-learn's sample images, china.jpg and flower.jpg, 427 x 640 pixels.
    """

    has_masks: ClassVar = True
    classes: ClassVar = ("building", "flower")

    side: PositiveInt = 224
    train_images: PositiveInt = 32
    validation_images: PositiveInt = 8
    test_images: PositiveInt = 16

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return 3, self.side, self.side

    def checksum(self) -> str:
        """sha256 of the fields and of the files."""
        return hashlib.sha256((super().checksum() + "".join(SHA256.values())).encode()).hexdigest()

    def load(self) -> Arrays:
        """Read the installed photographs and cut them."""
        photographs = [photograph(name) for name in SHA256]
        train, validation = (
            self._single(photographs, count, part) for part, count in enumerate((self.train_images, self.validation_images))
        )
        return Arrays(train, validation, *self._halves(photographs))

    def _single(self, photographs: list[Tensor], count: int, part: int) -> Split:
        labels = torch.arange(count) % len(photographs)
        return Split(self._cuts(photographs, labels, part), labels)

    def _halves(self, photographs: list[Tensor]) -> tuple[Split, Tensor]:
        """Images of two halves, labelled with a random half's class, and (N, 2, H, W) where each class is."""
        draws, first = self.draws(self.test_images, 2), torch.arange(self.test_images) % 2
        left = torch.arange(self.side) < self.side // 2
        images = torch.where(left, self._cuts(photographs, first, 3), self._cuts(photographs, 1 - first, 4))
        labels = torch.where(draws.integers(2, 1)[:, 0] == 0, first, 1 - first)
        shown = left == (first[:, None] == torch.arange(2))[..., None]
        return Split(images, labels), shown[:, :, None].expand(-1, -1, self.side, -1).contiguous()

    def _cuts(self, photographs: list[Tensor], which: Tensor, part: int) -> Tensor:
        """(N, 3, H, W): a cut of each of the photographs (N,)."""
        draws = self.draws(len(which), part)
        scale, top, left = draws.uniform(3).double().T.tolist()
        found = torch.empty(len(which), *self.shape)
        for place, name in enumerate(which.tolist()):
            whole = photographs[name]
            height, width = whole.shape[1:]
            size = round(SMALLEST + scale[place] * (min(height, width) - SMALLEST))
            row, column = (round(share[place] * (length - size)) for share, length in ((top, height), (left, width)))
            cut = whole[None, :, row : row + size, column : column + size]
            found[place] = functional.interpolate(cut, (self.side, self.side), mode="bilinear", antialias=True)[0].clamp_(0, 1)
        return found


def photograph(name: str) -> Tensor:
    """(3, H, W), in [0, 1]: a photograph of the installed scikit-learn, whose file is verified."""
    from importlib.resources import files

    from PIL import Image

    file = files("sklearn.datasets.images") / name
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != SHA256[name]:
        raise ValueError(f"{name} of this scikit-learn has sha256 {found}: expected {SHA256[name]}")
    with file.open("rb") as opened:
        pixels = np.array(Image.open(opened).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255
