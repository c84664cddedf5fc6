from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from xaibench.component import ConfigurationError
from xaibench.datasets import digits
from xaibench.datasets.digits import Digits
from xaibench.datasets.fashion_mnist import FashionMnist
from xaibench.datasets.idx import DataError, IdxDataset, read
from xaibench.datasets.mnist import Mnist
from xaibench.datasets.splits import cut
from xaibench.problem import Split

NOWHERE = "http://127.0.0.1:9/"  # the discard port of this machine: nobody answers


def digest(split: Split) -> str:
    return hashlib.sha256(split.images.numpy().tobytes() + split.labels.numpy().tobytes()).hexdigest()[:16]


def rows(split: Split) -> list[bytes]:
    return [image.tobytes() for image in split.images.numpy()]


def check_split(split: Split, count: int, side: int, classes: int = 10) -> None:
    assert split.images.shape == (count, 1, side, side)
    assert split.images.dtype == torch.float32
    assert split.labels.shape == (count,)
    assert split.labels.dtype == torch.int64
    assert (split.images.min().item(), split.images.max().item()) == (0.0, 1.0)
    assert sorted(split.labels.unique().tolist()) == list(range(classes))


def check_stratified(part: Split, whole: torch.Tensor) -> None:
    expected = torch.bincount(whole) * len(part.labels) / len(whole)
    assert (torch.bincount(part.labels) - expected).abs().max() < 1


def test_digits_have_fixed_disjoint_stratified_splits():
    arrays = Digits().load()
    for split, count in ((arrays.train, 1077), (arrays.validation, 180), (arrays.test, 540)):
        check_split(split, count, 8)
    labels = torch.cat([arrays.train.labels, arrays.validation.labels, arrays.test.labels])
    for split in (arrays.train, arrays.validation, arrays.test):
        check_stratified(split, labels)
    parts = [set(rows(split)) for split in (arrays.train, arrays.validation, arrays.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 1797  # no two images of digits are equal


def test_digits_are_those_of_scikit_learn_divided_by_16():
    from sklearn.datasets import load_digits

    data = load_digits()
    known = {image.astype(np.float32).tobytes(): label for image, label in zip(data.images / 16, data.target, strict=True)}
    test = Digits().load().test
    assert [known[row] for row in rows(test)] == test.labels.tolist()
    assert (
        Digits().checksum() == hashlib.sha256(data.images.astype(np.uint8).tobytes() + data.target.astype(np.uint8).tobytes()).hexdigest()
    )


def test_golden_splits_of_digits():
    """Part of every key: if a split changes on purpose, raise `splits.VERSION`."""
    arrays = Digits().load()
    assert [digest(split) for split in (arrays.train, arrays.validation, arrays.test)] == GOLDEN_DIGITS


def test_shares_of_digits_are_fields():
    arrays = Digits(test_share=0.2, validation_share=0.25).load()
    assert [len(split.labels) for split in (arrays.test, arrays.validation)] == [360, 449]
    with pytest.raises(ConfigurationError, match=r"Digits\.test_share=0\.5: expected"):
        Digits(test_share=0.5)


def test_other_digits_are_refused(monkeypatch):
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=f"digits of this scikit-learn have sha256 87ff0c9e.*: expected {'0' * 64}"):
        Digits().load()


def test_cut_keeps_the_order_and_takes_a_number_or_a_share():
    images, labels = torch.arange(100.0)[:, None], torch.arange(100) % 4
    kept, taken = cut(images, labels, 20)
    assert sorted(kept.images.flatten().tolist() + taken.images.flatten().tolist()) == list(range(100))
    for part in (kept, taken):
        assert torch.equal(part.images.sort(dim=0).values, part.images)
        assert torch.equal(part.labels, part.images.flatten().long() % 4)
    assert torch.bincount(taken.labels).tolist() == [5] * 4
    assert torch.equal(cut(images, labels, 0.2)[1].images, taken.images)


GOLDEN_DIGITS = ["3aa1edd09e8bdc2a", "85ee950cdbe676a6", "6fe5c88fbd81934f"]
GOLDEN_VALIDATION = {Mnist: "9b9ffb962e4fa881", FashionMnist: "8c62a7161278e3eb"}
PUBLISHED = {Mnist: (0.1307, 0.3081), FashionMnist: (0.2860, 0.3530)}  # mean and standard deviation of the 60,000


@pytest.mark.parametrize("dataset", PUBLISHED, ids=lambda dataset: dataset.__name__)
def test_published_files(dataset, real_data):
    arrays = dataset().load()
    check_split(arrays.train, 55_000, 28)
    check_split(arrays.validation, 5_000, 28)
    check_split(arrays.test, 10_000, 28)
    labels = torch.cat([arrays.train.labels, arrays.validation.labels])
    assert torch.bincount(arrays.test.labels).tolist() == ([1000] * 10 if dataset is FashionMnist else MNIST_TEST_COUNTS)
    check_stratified(arrays.validation, labels)
    pixels = (torch.cat([arrays.train.images, arrays.validation.images]) * 255).round().to(torch.uint8).numpy()
    levels, counts = np.arange(256) / 255, np.bincount(pixels.ravel(), minlength=256) / pixels.size
    mean = levels @ counts
    assert (mean, ((levels - mean) ** 2 @ counts) ** 0.5) == pytest.approx(PUBLISHED[dataset], abs=5e-5)
    raw = gzip.decompress((Path(real_data) / dataset.folder / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    assert sorted(row.tobytes() for row in pixels) == sorted(raw[start : start + 784] for start in range(0, len(raw), 784))
    assert digest(arrays.validation) == GOLDEN_VALIDATION[dataset]


MNIST_TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize("validation", [4, 8])
def test_the_size_of_the_validation_part_is_a_field(tiny, validation):
    arrays = tiny(validation=validation).load()
    assert (len(arrays.train.labels), len(arrays.validation.labels), len(arrays.test.labels)) == (20 - validation, validation, 6)
    assert torch.bincount(arrays.validation.labels).tolist() == [validation // 4] * 4


def idx(content: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, content.ndim]) + b"".join(size.to_bytes(4, "big") for size in content.shape)
    return gzip.compress(header + content.astype(np.uint8).tobytes(), mtime=0)


IMAGES, LABELS = np.arange(20 * 3 * 5).reshape(20, 3, 5) % 256, np.arange(20) % 4
FILES = {
    "train-images.gz": idx(IMAGES),
    "train-labels.gz": idx(LABELS),
    "test-images.gz": idx(IMAGES[:6]),
    "test-labels.gz": idx(LABELS[:6]),
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A dataset of four small files, in a folder that XAIBENCH_DATA names, with nowhere to download from."""

    class Tiny(IdxDataset):
        folder: ClassVar = "tiny"
        mirror: ClassVar = NOWHERE
        sha256: ClassVar = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
        classes: ClassVar = tuple("abcd")

    (tmp_path / "data" / "tiny").mkdir(parents=True)
    for name, content in FILES.items():
        (tmp_path / "data" / "tiny" / name).write_bytes(content)
    monkeypatch.setenv("XAIBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return Tiny


def test_idx_files_are_read_in_the_shape_of_their_header(tiny, tmp_path):
    found = read("tiny", "train-images.gz", tiny.sha256["train-images.gz"], NOWHERE)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), IMAGES)
    arrays = tiny(validation=4).load()
    assert torch.equal(arrays.test.images, torch.from_numpy(IMAGES[:6])[:, None].float() / 255)
    assert arrays.test.labels.tolist() == LABELS[:6].tolist()


def test_a_checksum_stands_for_all_four_files(tiny):
    assert tiny().checksum() != Mnist().checksum() != FashionMnist().checksum()
    before = tiny().checksum()
    tiny.sha256 = tiny.sha256 | {"test-labels.gz": "0" * 64}
    assert tiny().checksum() != before


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def altered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def exchanged(path: Path) -> None:
    shutil.copy(path.with_name("test-labels.gz"), path)


@pytest.mark.parametrize("damage", [shortened, altered, exchanged])
def test_a_file_that_is_not_the_published_one_is_refused(tiny, tmp_path, damage):
    path = tmp_path / "data" / "tiny" / "train-images.gz"
    damage(path)
    with pytest.raises(DataError) as caught:
        tiny(validation=4).load()
    content = path.read_bytes()
    found, expected = hashlib.sha256(content).hexdigest(), tiny.sha256["train-images.gz"]
    assert str(caught.value) == f"{path} ({len(content)} bytes) has sha256 {found}: expected {expected}; the file is truncated or altered"


@pytest.mark.parametrize("named", [True, False])
def test_absent_files_without_a_network_say_what_to_do(tiny, tmp_path, monkeypatch, named):
    folder = tmp_path / "data"
    (folder / "tiny" / "train-labels.gz").unlink()
    missing = "train-labels.gz" if named else "train-images.gz"
    setting = f"XAIBENCH_DATA={str(folder)!r} has no tiny/{missing}"
    if not named:
        monkeypatch.delenv("XAIBENCH_DATA")
        setting = "XAIBENCH_DATA is not set"
    with pytest.raises(DataError) as caught:
        tiny(validation=4).load()
    assert str(caught.value).startswith(f"dataset=tiny: {setting} and the download of {NOWHERE}{missing} failed (")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.gz"))


def test_a_failed_download_is_told_in_one_line(tiny, monkeypatch):
    import pooch.downloaders

    def download(self, url, output, pooch, **kwargs):
        raise RuntimeError("first\nsecond")

    monkeypatch.delenv("XAIBENCH_DATA")
    monkeypatch.setattr(pooch.downloaders.HTTPDownloader, "__call__", download)
    with pytest.raises(DataError) as caught:
        tiny().load()
    assert str(caught.value).endswith("train-images.gz failed (first)")


def test_a_downloaded_file_is_verified_and_kept(tiny, tmp_path, monkeypatch):
    """The download itself is pooch's: here it gets its content from a function."""
    import pooch.downloaders

    asked = []

    def download(self, url, output, pooch, **kwargs):
        asked.append(url)
        name = url.removeprefix(NOWHERE)
        Path(output).write_bytes(FILES[name] if len(asked) > 1 else b"an error page")

    monkeypatch.delenv("XAIBENCH_DATA")
    monkeypatch.setattr(pooch.downloaders.HTTPDownloader, "__call__", download)
    with pytest.raises(DataError, match=f"dataset=tiny: XAIBENCH_DATA is not set and the download of {NOWHERE}train-images.gz failed"):
        tiny(validation=4).load()
    assert tiny(validation=4).load().test.labels.tolist() == LABELS[:6].tolist()
    assert asked == [NOWHERE + name for name in ["train-images.gz", *FILES]]
    tiny(validation=4).load()
    assert len(asked) == 5


@pytest.mark.parametrize("dataset", [Digits, Mnist, FashionMnist])
def test_datasets_say_their_shape_and_classes(dataset):
    assert dataset.shape == ((1, 8, 8) if dataset is Digits else (1, 28, 28))
    assert len(set(dataset.classes)) == 10
    assert len(dataset().checksum()) == 64
    assert isinstance(dataset.subset_seed, int)


def test_mnist_and_fashion_mnist_are_different_files():
    assert len({checksum for dataset in (Mnist, FashionMnist) for checksum in dataset.sha256.values()}) == 8
