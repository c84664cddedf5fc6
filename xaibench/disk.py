"""When the disk takes no more: one error that says so, and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from xaibench.component import UserError

FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


class StoreError(UserError):
    """Results cannot be kept; the message says why, and what to do."""


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
