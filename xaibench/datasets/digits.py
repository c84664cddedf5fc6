"""Handwritten digits of 8 x 8 pixels that come with scikit-learn: no download."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, ClassVar

import annotated_types
import numpy as np
import torch

from xaibench.datasets.splits import sizes, three_splits
from xaibench.problem import Arrays, Dataset

IMAGES = 1797
SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


@dataclass(frozen=True)
class Digits(Dataset):
    """1,797 real images of the ten digits, 8 x 8 pixels with 17 grey levels, divided by 16.

    Parameters
    ----------
    test_share, validation_share
        Shares of all images; stratified by class, and fixed.

    References
    ----------
    UCI Machine Learning Repository, Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), test part.
    """

    shape: ClassVar = (1, 8, 8)
    classes: ClassVar = tuple("0123456789")

    test_share: Annotated[float, annotated_types.Gt(0), annotated_types.Lt(0.5)] = 0.3
    validation_share: Annotated[float, annotated_types.Gt(0), annotated_types.Lt(0.5)] = 0.1

    @property
    def train_images(self) -> int:
        """What the test and the validation images leave."""
        return sizes({"": IMAGES}, self.test_share, self.validation_share)[0]

    @property
    def test_images(self) -> int:
        """How many test images there are."""
        return sizes({"": IMAGES}, self.test_share, self.validation_share)[1]

    def checksum(self) -> str:
        """sha256 of pixels and labels as bytes."""
        return SHA256

    def load(self) -> Arrays:
        """Read the images from the installed scikit-learn."""
        from sklearn.datasets import load_digits

        data = load_digits()
        pixels, labels = data.images.astype(np.uint8), data.target.astype(np.uint8)
        found = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
        if found != SHA256:
            raise ValueError(f"digits of this scikit-learn have sha256 {found}: expected {SHA256}")
        images = torch.from_numpy(pixels)[:, None].float() / 16
        return three_splits(images, torch.from_numpy(labels).long(), self.test_share, self.validation_share)
