"""A user's images that are too many for the memory: decoded once into a file."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xaibench.component import ConfigurationError
from xaibench.datasets import decoded, image_folder
from xaibench.datasets.image_folder import ImageFolder


def picture(path, color):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), color).save(path)


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A folder of 40 images, which count as many, and the folder of what was decoded."""
    monkeypatch.setattr(decoded, "IN_MEMORY", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for place in range(20):
        picture(tmp_path / "data" / "a" / f"{place}.png", (place, 255, 0))
        picture(tmp_path / "data" / "b" / f"{place}.png", (0, 0, place))
    return ImageFolder(str(tmp_path / "data"), height=2, width=2), tmp_path / "cache" / "xaibench" / "decoded"


def test_many_images_are_decoded_once_and_mapped_into_memory(many, monkeypatch):
    found, kept = many
    mapped = found.load()
    assert len([*kept.glob("*.npy")]) == 3
    assert not [*kept.glob("*.part")]
    monkeypatch.setattr(image_folder, "read_image", lambda *_, **__: pytest.fail("decoded again"))
    found.load().test.images.zero_()  # stays with this process
    again = found.load()
    monkeypatch.undo()
    whole = found.load()
    for one in (mapped, again):
        for part in ("train", "validation", "test"):
            assert torch.equal(getattr(one, part).images, getattr(whole, part).images)
            assert torch.equal(getattr(one, part).labels, getattr(whole, part).labels)


def test_what_was_decoded_is_known_by_content_shape_and_division(many):
    found, kept = many
    found.load()
    for other in (replace(found, height=3), replace(found, channels=1), replace(found, test_share=0.5, validation_share=0)):
        before = {*kept.glob("*.npy")}
        assert other.load().test.images.shape[1:] == other.shape
        assert len({*kept.glob("*.npy")} - before) >= 2
    picture(Path(found.path) / "a" / "0.png", (99, 99, 99))
    image_folder._checksum.cache_clear()
    before = {*kept.glob("*.npy")}
    replace(found, sha256="").load()
    assert len({*kept.glob("*.npy")} - before) == 3


def test_a_damaged_image_or_a_full_disk_leaves_nothing_decoded(many, monkeypatch):
    found, kept = many

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array_header_2_0", full)
        with pytest.raises(
            ConfigurationError, match=r"decoded: No space left on device; expected room for 12 decoded images, .*XDG_CACHE_HOME"
        ):
            found.load()
    (Path(found.path) / "a" / "3.png").write_text("text")
    with pytest.raises(ConfigurationError, match=r"3\.png: expected an image"):
        found.load()
    assert not {path.suffix for path in kept.iterdir()} & {".part"}


@pytest.mark.parametrize("left", [0, 40, 300])
def test_a_damaged_file_is_decoded_again(many, caplog, left):
    found, kept = many
    before = found.load().test.images.clone()
    for path in kept.glob("*.npy"):
        os.truncate(path, left)
    assert torch.equal(found.load().test.images, before)
    assert "is damaged" in caplog.text
    caplog.clear()
    assert torch.equal(found.load().test.images, before)
    assert not caplog.text
