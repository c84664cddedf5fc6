"""Cuts of photographs: shapes, masks that tell the truth, and content that follows from the fields; and data known by its sizes alone."""

import pytest
import torch

from xaibench.component import UserError
from xaibench.datasets import photographs
from xaibench.datasets.declared import Declared
from xaibench.datasets.photographs import Photographs

FEW = Photographs(side=48, train_images=6, validation_images=3, test_images=20)


@pytest.fixture(scope="module")
def arrays():
    return FEW.load()


def test_shapes_and_range(arrays):
    assert FEW.shape == (3, 48, 48)
    assert [len(part.images) for part in (arrays.train, arrays.validation, arrays.test)] == [6, 3, 20]
    assert arrays.test_masks.shape == (20, 2, 48, 48)
    for part in (arrays.train, arrays.validation, arrays.test):
        assert part.images.shape[1:] == FEW.shape
        assert part.images.min() >= 0
        assert part.images.max() <= 1
        assert part.images.std((1, 2, 3)).min() > 0.02
        assert set(part.labels.tolist()) == {0, 1}


def test_halves_of_a_test_image_show_the_classes_of_its_masks(arrays):
    masks = arrays.test_masks
    assert (masks.sum(1) == 1).all()
    assert (masks.flatten(2).sum(2) == 48 * 24).all()
    assert not torch.equal(masks[0], masks[1])
    # the building is the more colorless of the two, in its half and as a whole
    gray = 1 - (arrays.test.images.amax(1) - arrays.test.images.amin(1))
    building, flower = ((gray * masks[:, k]).sum((1, 2)).mean() for k in range(2))
    assert building > flower
    assert 0.2 < float((arrays.test.labels == 0).float().mean()) < 0.8


def test_content_follows_from_the_fields(arrays):
    again = FEW.load()
    assert torch.equal(arrays.test.images, again.test.images)
    other = Photographs(side=48, train_images=6, validation_images=3, test_images=20, data_seed=1)
    assert not torch.equal(arrays.train.images, other.load().train.images)
    assert FEW.checksum() != other.checksum() != Photographs().checksum()


def test_an_altered_photograph_is_refused(monkeypatch):
    monkeypatch.setitem(photographs.SHA256, "china.jpg", "0")
    with pytest.raises(ValueError, match=r"china\.jpg .* expected 0"):
        FEW.load()


def test_declared_data_has_sizes_and_nothing_else():
    dataset = Declared(class_count=7, height=32)
    assert (dataset.shape, len(dataset.classes)) == ((3, 32, 224), 7)
    assert (dataset.train_images, dataset.test_images) == (1_281_167, 50_000)
    assert dataset.checksum() != Declared().checksum()
    with pytest.raises(UserError, match="planned"):
        dataset.load()
