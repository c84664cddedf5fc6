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
    colors, limit = _colors(values)
    return _enlarged([_rgb(image), colors]), limit


def plain(image: NDArray[Any]) -> NDArray[np.uint8]:
    """An image (C, H, W) alone."""
    return _enlarged([_rgb(image)])


def colored(values: NDArray[Any]) -> tuple[NDArray[np.uint8], float]:
    """A map (H, W) alone, and the end of its scale, in the same colors."""
    colors, limit = _colors(values)
    return _enlarged([colors]), limit


def counterfactual(proposal: NDArray[Any], found: bool) -> NDArray[np.uint8]:
    """A counterfactual (C, H, W) alone, gray where none was found."""
    return _enlarged([_rgb(proposal if found else np.full_like(proposal, GRAY))])


def strip(image: NDArray[Any], proposals: NDArray[Any], found: NDArray[Any]) -> NDArray[np.uint8]:
    """An image (C, H, W) and its counterfactuals (T, C, H, W), gray where none was found (T,)."""
    shown = np.concatenate([image[None], np.where(found[:, None, None, None], proposals, GRAY)])
    return _enlarged([_rgb(one) for one in shown])


def _rgb(image: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3) of an image (C, H, W)."""
    return np.broadcast_to(image.transpose(1, 2, 0), (*image.shape[1:], 3))


def _colors(values: NDArray[Any]) -> tuple[NDArray[Any], float]:
    limit = style.scale(values)
    colors = style.DIVERGING.with_extremes(bad="#808080")(np.ma.masked_invalid(0.5 + values / (2 * limit)))
    return colors[..., :3], limit


def _enlarged(parts: list[NDArray[Any]]) -> NDArray[np.uint8]:
    """Pictures (H, W, 3) side by side, each pixel repeated."""
    times = -(-PICTURE // len(parts[0]))
    whole = np.concatenate(parts, axis=1).repeat(times, axis=0).repeat(times, axis=1)
    return (255 * whole.clip(0, 1)).round().astype(np.uint8)
