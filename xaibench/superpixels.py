"""Superpixels: the regions of an image that are present or absent as a whole."""

from __future__ import annotations

import hashlib
import threading
from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass

import cachetools
import numpy as np
import torch
from torch import Tensor

from xaibench.component import Component, PositiveFloat, PositiveInt

LIBRARY = "scikit-image"
VERSION = 1

KEPT: cachetools.LRUCache[Hashable, np.ndarray] = cachetools.LRUCache(2**26, getsizeof=lambda regions: regions.nbytes)
"""Regions of the images that were clustered last, up to so many bytes: all methods and metrics of a study ask for the same ones."""


@dataclass(frozen=True)
class Superpixels(Component):
    """Divides images into regions that are numbered without gaps."""

    shared = True
    """Whether all images of one size have the same regions."""

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """(1, H, W) where all images share the regions, else (B, H, W), int64: each pixel's region, from 0; images are (B, C, H, W)."""


@dataclass(frozen=True)
class Pixels(Superpixels):
    """Every pixel is a region, with all its channels."""

    def __call__(self, images: Tensor) -> Tensor:
        """See `Superpixels`."""
        height, width = images.shape[-2:]
        return torch.arange(height * width, device=images.device).reshape(1, height, width)


@dataclass(frozen=True)
class Squares(Superpixels):
    """A grid of equal rectangles, the same one for all images, whatever their size.

    Parameters
    ----------
    side
        Rectangles along each side, at most the pixels of that side. Where it does not divide the image, sizes differ by one pixel.
    """

    side: PositiveInt = 7

    def __call__(self, images: Tensor) -> Tensor:
        """See `Superpixels`."""
        row, column = (self._lines(size, images.device) for size in images.shape[-2:])
        return (row[:, None] * (column[-1] + 1) + column)[None]

    def _lines(self, size: int, device: torch.device) -> Tensor:
        return torch.arange(size, device=device) * min(self.side, size) // size


@dataclass(frozen=True)
class Patches(Superpixels):
    """Squares of the same number of pixels, the same ones for all images; those at the right and lower border may be cut off.

    Parameters
    ----------
    side
        Pixels along each side of a square.
    """

    side: PositiveInt = 4

    def __call__(self, images: Tensor) -> Tensor:
        """See `Superpixels`."""
        row, column = (torch.arange(size, device=images.device) // self.side for size in images.shape[-2:])
        return (row[:, None] * (column[-1] + 1) + column)[None]


@dataclass(frozen=True)
class Slic(Superpixels):
    """Regions of similar color, of each image its own, by simple linear iterative clustering.

    Parameters
    ----------
    regions
        About how many; an image may have fewer.
    compactness
        Balances closeness in space against closeness in color: high values give squares.

    References
    ----------
    Achanta et al., SLIC superpixels compared to state-of-the-art superpixel methods, TPAMI 2012. scikit-image's implementation.
    """

    shared = False

    regions: PositiveInt = 49
    compactness: PositiveFloat = 0.1

    def __call__(self, images: Tensor) -> Tensor:
        """See `Superpixels`."""
        found = [self._regions(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()]
        return torch.from_numpy(np.stack(found)).to(images.device)

    def _key(self, image: np.ndarray) -> Hashable:
        return self, image.shape, image.dtype.str, hashlib.blake2b(image.tobytes()).digest()

    @cachetools.cached(KEPT, key=_key, lock=threading.Lock())
    def _regions(self, image: np.ndarray) -> np.ndarray:
        from skimage.segmentation import slic

        found: np.ndarray = slic(
            image.astype(np.float64),
            n_segments=self.regions,
            compactness=self.compactness,
            channel_axis=-1,
            start_label=0,
            convert2lab=image.shape[-1] == 3,
        )
        return found.astype(np.int64)


@dataclass(frozen=True)
class Halves(Superpixels):
    """Rectangles that come from halving the image again and again, the longer side first (of equal sides the rows).

    The bits of a rectangle's number, the first cut first, say in which half it lies (0: top or left). Of an odd number of lines the
    second half has one more.

    Parameters
    ----------
    depth
        Cuts: there are 2^depth rectangles.
    """

    depth: PositiveInt = 4

    def __call__(self, images: Tensor) -> Tensor:
        """See `Superpixels`."""
        found = torch.zeros(1, *images.shape[-2:], dtype=torch.int64, device=images.device)
        parts = [found[0]]
        for _ in range(self.depth):
            found *= 2
            halves = []
            for part in parts:
                dimension = 0 if part.shape[0] >= part.shape[1] else 1
                half = part.shape[dimension] // 2
                first, second = part.split([half, part.shape[dimension] - half], dim=dimension)
                second += 1
                halves += [first, second]
            parts = halves
        return found

    def unsupported(self, height: int, width: int) -> str | None:
        """Why images of this size cannot be halved so often, or None."""
        for _ in range(self.depth):
            height, width = (height // 2, width) if height >= width else (height, width // 2)
            if not height * width:
                return f"{self} cuts the image into more rectangles than it has pixels along a side: lower depth"
        return None
