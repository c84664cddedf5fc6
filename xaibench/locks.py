"""Locks of a store, which save double work: a key is locked by who computes it, and the lock of a dead process is none."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from xaibench.disk import writing

LOCKS = "locks"
"""The folder beside those of the stages."""


@contextlib.contextmanager
def locked(root: Path, key: str) -> Iterator[None]:
    """Hold the lock of a key in the store there, after whoever holds it now.

    Raises
    ------
    StoreError
        If the disk is full or cannot be written.
    """
    lock = filelock.FileLock(root / LOCKS / f"{key}.lock")
    with writing(root):
        (root / LOCKS).mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def locks(root: Path) -> Iterator[tuple[str, bool]]:
    """The keys that have locks, and whether a living process holds it."""
    for path in (root / LOCKS).glob("*.lock"):
        with contextlib.suppress(FileNotFoundError):  # released meanwhile
            yield path.stem, held(path)


def held(lock: Path) -> bool:
    """Whether a living process holds a lock, without making or changing the file; what cannot be looked at counts as held."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        raise
    except OSError:
        return True
    return False
