"""Single explanations as small pictures, bytes in (height, width, 3): a map beside its image, counterfactuals in a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaibench.figures import style

VERSION = 1

PICTURE = 224
"""Least height, in pixels, to which a small image is enlarged."""

GRAY = 0.5


def beside(image: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[np.uint8], float]:
    """An image (C, H, W) and its map (H, W), and the end of the map's scale.

    Zero is white; undefined values are gray.
    """
    limit = style.scale(values)
    colors = style.DIVERGING.with_extremes(bad="#808080")(np.ma.masked_invalid(0.5 + values / (2 * limit)))[..., :3]
    plain = np.broadcast_to(image.transpose(1, 2, 0), colors.shape)
    return _enlarged([plain, colors]), limit


def strip(image: NDArray[Any], proposals: NDArray[Any], found: NDArray[Any]) -> NDArray[np.uint8]:
    """An image (C, H, W) and its counterfactuals (T, C, H, W), gray where none was found (T,)."""
    shown = np.concatenate([image[None], np.where(found[:, None, None, None], proposals, GRAY)])
    return _enlarged([np.broadcast_to(one.transpose(1, 2, 0), (*one.shape[1:], 3)) for one in shown])


def _enlarged(parts: list[NDArray[Any]]) -> NDArray[np.uint8]:
    """Pictures (H, W, 3) side by side, each pixel repeated."""
    times = -(-PICTURE // len(parts[0]))
    whole = np.concatenate(parts, axis=1).repeat(times, axis=0).repeat(times, axis=1)
    return (255 * whole.clip(0, 1)).round().astype(np.uint8)
