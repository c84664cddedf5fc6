"""What is said when the disk takes no more, whoever reports it."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from xaibench.disk import StoreError, writing

FULL, CLOSED = "make room and run again", "expected a folder to write to"


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, FULL), (errno.EDQUOT, FULL), (errno.EROFS, CLOSED), (errno.EACCES, CLOSED), (errno.ENOTDIR, CLOSED)],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_or_closed_disk_is_told_with_the_folder_and_what_to_do(number, hint, wrapped, tmp_path):
    words = os.strerror(number)
    error = SafetensorError(f"Error while serializing: I/O error: {words} (os error {number})") if wrapped else OSError(number, words)
    with pytest.raises(StoreError, match=hint) as caught, writing(tmp_path):
        raise error
    assert str(caught.value).startswith(f"{tmp_path}: {words}")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), ValueError("os error 28"), KeyError("x")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, writing(Path("store")):
        raise error
    assert caught.value is error
