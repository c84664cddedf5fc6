"""A dataset of which only the sizes are known."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from xaibench.component import PositiveInt, UserError, describe
from xaibench.problem import Arrays, Dataset


@dataclass(frozen=True)
class Declared(Dataset):
    """Stands for data that is not here yet: a grid can be planned with it (passes, hours, bytes), and nothing else.

    Parameters
    ----------
    channels, height, width
        Of an image; those that ImageNet is usually cut to by default.
    class_count
        How many classes.
    train_images, test_images
        How many images.
    """

    channels: PositiveInt = 3
    height: PositiveInt = 224
    width: PositiveInt = 224
    class_count: PositiveInt = 1000
    train_images: PositiveInt = 1_281_167
    test_images: PositiveInt = 50_000

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    @property
    def classes(self) -> tuple[str, ...]:
        """Their numbers."""
        return tuple(map(str, range(self.class_count)))

    def checksum(self) -> str:
        """sha256 of the fields."""
        return hashlib.sha256(json.dumps(describe(self), sort_keys=True).encode()).hexdigest()

    def load(self) -> Arrays:
        """Raises: there are no images."""
        raise UserError(f"dataset={self}: expected data; its sizes alone can only be planned with (xaibench plan)")
