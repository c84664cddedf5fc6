"""When the disk takes no more: one error that says so, and what to do."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from xaibench.component import UserError

FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


class StoreError(UserError):
    """Results cannot be kept; the message says why, and what to do."""


def save_arrays(arrays: Mapping[str, NDArray[Any]], path: Path, about: Mapping[str, Any]) -> None:
    """Write arrays, and what is known about them, as a safetensors file that others may read as far as the umask allows it."""
    import safetensors.numpy

    safetensors.numpy.save_file(dict(arrays), path, metadata={"about": json.dumps(about, sort_keys=True)})
    os.umask(mask := os.umask(0))
    path.chmod(0o666 & ~mask)  # safetensors makes its file for its owner alone


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise a full or closed disk as a `StoreError`.

    Libraries that report an operating system's error as one of their own are understood by its number, as safetensors writes it.
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        told = {code for code in FULL | CLOSED if number == code or f"(os error {code})" in str(error)}
        if told & FULL:
            raise StoreError(f"{folder}: {os.strerror(told.pop())}; make room and run again: what was computed so far is kept") from error
        if told & CLOSED:
            hint = "to use results of a store that only can be read: runtime.caches=[FOLDER], and another runtime.store"
            raise StoreError(f"{folder}: {os.strerror(told.pop())}; expected a folder to write to ({hint})") from error
        raise
