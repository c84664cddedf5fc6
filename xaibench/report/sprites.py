"""Many small maps as one picture: a palette png with a tile for each, as a data URI."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaibench.figures import style

COLUMNS = 10
"""Tiles side by side."""

UNDEFINED = -128
"""What stands in a quantized map for a value that is not finite."""

MISSING = (204, 204, 204)
"""Its color."""


def quantized(maps: NDArray[Any]) -> NDArray[np.int8]:
    """Maps (..., H, W) as -127 ... 127, each on a scale of its own whose end is the 99.5th percentile of its absolute values."""
    flat = maps.reshape(-1, maps.shape[-2] * maps.shape[-1]).astype(np.float64)
    limits = np.array([style.scale(one) for one in flat])[:, None]
    finite = np.isfinite(flat)
    values = np.rint(127 * np.clip(np.where(finite, flat, 0) / limits, -1, 1))
    return np.where(finite, values, UNDEFINED).astype(np.int8).reshape(maps.shape)


def signed(maps: NDArray[np.int8], levels: int) -> str:
    """Quantized maps (N, H, W) in blue, white and red, with an odd number of levels."""
    half = levels // 2
    index = np.rint(maps.astype(np.float64) / 127 * half).astype(np.int64) + half
    index[maps == UNDEFINED] = levels
    colors = (255 * style.DIVERGING(np.linspace(0, 1, levels))[:, :3]).round().astype(np.uint8)
    colors[half] = 255  # which interpolation misses by a bit
    return uri(palette_png(_tiled(index, half), np.vstack([colors, MISSING])))


def gray(images: NDArray[np.uint8], levels: int) -> str:
    """Images (N, H, W) from black to white."""
    index = np.rint(images.astype(np.float64) / 255 * (levels - 1)).astype(np.int64)
    ramp = np.linspace(0, 255, levels).round().astype(np.uint8)
    return uri(palette_png(_tiled(index, 0), np.repeat(ramp[:, None], 3, axis=1)))


def color(images: NDArray[np.uint8]) -> str:
    """Images (N, C, H, W): gray where they have one channel; of three, each with six levels."""
    if images.shape[1] != 3:
        return gray(images.mean(axis=1).round().astype(np.uint8), 32)
    digits = np.rint(images.astype(np.float64) / 51).astype(np.int64)
    cube = np.array([[51 * r, 51 * g, 51 * b] for r in range(6) for g in range(6) for b in range(6)])
    return uri(palette_png(_tiled(36 * digits[:, 0] + 6 * digits[:, 1] + digits[:, 2], 0), cube))


def palette_png(index: NDArray[Any], palette: NDArray[Any]) -> bytes:
    """(H, W) positions in a palette (K, 3) as a png, with as few bits for a pixel as the palette needs."""
    height, width = index.shape
    bits = next(bits for bits in (1, 2, 4, 8) if len(palette) <= 2**bits)
    each = 8 // bits
    padded = np.pad(index.astype(np.uint8), ((0, 0), (0, -width % each))).reshape(height, -1, each)
    packed = (padded << np.arange(8 - bits, -1, -bits, dtype=np.uint8)).sum(axis=2).astype(np.uint8)
    lines = np.pad(packed, ((0, 0), (1, 0)))  # filter 0 of each line
    head = struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", palette.astype(np.uint8).tobytes()), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    body = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def uri(png: bytes) -> str:
    """A png as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _tiled(index: NDArray[Any], empty: int) -> NDArray[Any]:
    """Tiles (N, H, W) in rows of `COLUMNS`."""
    number, height, width = index.shape
    rows = -(-number // COLUMNS)
    full = np.concatenate([index, np.full((rows * COLUMNS - number, height, width), empty, dtype=index.dtype)])
    return full.reshape(rows, COLUMNS, height, width).transpose(0, 2, 1, 3).reshape(rows * height, COLUMNS * width)
