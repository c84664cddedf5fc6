"""Images of files, decoded: into memory, or, where they are many, once into a file that all processes read page by page."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path

import filelock
import numpy as np
import torch
from torch import Tensor

from xaibench.component import ConfigurationError

log = logging.getLogger(__name__)

IN_MEMORY = 2**28
"""Bytes of decoded images up to which they are decoded into memory, by each process."""

AT_ONCE = 256
"""Images that wait to be written."""

TELL = 60.0
"""Seconds between two lines of the log."""


def decoded(files: Sequence[Path], read: Callable[[Path], Tensor], shape: tuple[int, int, int], known_by: str) -> Tensor:
    """(N, C, H, W), float32: what `read` gives for each file, of this shape.

    More than `IN_MEMORY` are kept in the folder ``decoded`` of the download cache (4 bytes for each value), by `known_by`, which must
    differ where the pixels do, and are a memory map: what is not used takes no memory, and what is changed stays with the process.

    Raises
    ------
    ConfigurationError
        If the file cannot be written.
    """
    size = 4 * len(files) * prod(shape)
    if size <= IN_MEMORY:
        return torch.stack([*_each(files, read)])
    import pooch

    path = Path(pooch.os_cache("xaibench")) / "decoded" / f"{known_by}.npy"
    if (found := _mapped(path)) is not None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock")):
            if (found := _mapped(path)) is None:
                _write(path, files, read, shape)
                found = _mapped(path)
    except OSError as error:
        told = f"{path.parent}: {error.strerror}; expected room for {len(files):,} decoded images, {size / 1e9:.3g} GB"
        raise ConfigurationError(f"{told} (XDG_CACHE_HOME chooses another place)") from error
    assert found is not None
    return found


def _mapped(path: Path) -> Tensor | None:
    """What was decoded before; None where there is nothing, or a file that is not whole."""
    try:
        return torch.from_numpy(np.load(path, mmap_mode="c"))
    except FileNotFoundError:
        return None
    except (ValueError, EOFError) as error:
        log.warning("%s is damaged (%s): the images are decoded again", path, error)
        return None


def _write(path: Path, files: Sequence[Path], read: Callable[[Path], Tensor], shape: tuple[int, int, int]) -> None:
    """One image after the other, so that a full disk is an error and no signal; under its name when all are there."""
    part = path.with_suffix(".part")
    log.info("decoding %d images into %s", len(files), path)
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(files), *shape)}
    try:
        with part.open("wb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            for image in _each(files, read):
                file.write(image.numpy().astype("<f4").tobytes())
        part.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _each(files: Sequence[Path], read: Callable[[Path], Tensor]) -> Iterator[Tensor]:
    """The images in order, on as many threads as torch has; a line of the log each minute."""
    told = time.monotonic()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(files), AT_ONCE):
            yield from pool.map(read, files[start : start + AT_ONCE])
            if time.monotonic() - told > TELL:
                told = time.monotonic()
                log.info("%d of %d images decoded", min(start + AT_ONCE, len(files)), len(files))
