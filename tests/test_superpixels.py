import warnings

import pytest
import torch

from xaibench import superpixels
from xaibench.superpixels import Halves, Pixels, Slic, Squares


def pictures(batch=3, channels=1, height=12, width=14):
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


def is_numbered_without_gaps(regions):
    return all(torch.equal(one.unique(), torch.arange(int(one.max()) + 1)) for one in regions)


def test_pixels_are_numbered_row_by_row():
    assert torch.equal(Pixels()(pictures(height=3, width=4)), torch.arange(12).reshape(1, 3, 4))


@pytest.mark.parametrize(("side", "height", "width"), [(4, 12, 14), (7, 28, 28), (5, 3, 9), (1, 4, 4)])
def test_squares_are_rectangles_of_nearly_equal_sides(side, height, width):
    (regions,) = Squares(side)(pictures(height=height, width=width))
    rows, columns = min(side, height), min(side, width)
    assert is_numbered_without_gaps([regions])
    assert regions.max() + 1 == rows * columns
    for number in range(rows * columns):
        inside = regions == number
        lines, rest = inside.any(1).sum(), inside.any(0).sum()
        assert inside.sum() == lines * rest
        assert lines in (height // rows, -(-height // rows))
        assert rest in (width // columns, -(-width // columns))
    assert regions.diff(dim=0).min() >= 0
    assert regions.diff(dim=1).min() >= 0


def test_halves_by_hand():
    (regions,) = Halves(depth=3)(pictures(height=5, width=4))
    expected = [[0, 0, 2, 2], [1, 1, 3, 3], [4, 4, 6, 6], [5, 5, 7, 7], [5, 5, 7, 7]]
    assert regions.tolist() == expected
    (wide,) = Halves(depth=2)(pictures(height=2, width=4))
    assert wide.tolist() == [[0, 0, 2, 2], [1, 1, 3, 3]]


@pytest.mark.parametrize(("height", "width", "most"), [(8, 8, 6), (9, 11, 6), (28, 28, 8), (2, 3, 2)])
def test_halves_say_how_often_an_image_can_be_cut(height, width, most):
    assert Halves(most).unsupported(height, width) is None
    assert is_numbered_without_gaps(Halves(most)(pictures(height=height, width=width)))
    assert f"depth={most + 1}" in Halves(most + 1).unsupported(height, width)
    (regions,) = Halves(most + 1)(pictures(height=height, width=width))
    assert not is_numbered_without_gaps([regions]) or regions.max() + 1 < 2 ** (most + 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (9, 20)])
def test_slic_numbers_the_regions_of_every_image_without_gaps(channels, height, width):
    images = pictures(4, channels, height, width)
    images[0] = 0
    images[1] = 0.7
    images[2, :, : height // 2] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regions = Slic(regions=16)(images)
    assert regions.shape == (4, height, width)
    assert regions.dtype == torch.int64
    assert is_numbered_without_gaps(regions)
    assert all(9 <= one.max() + 1 <= 25 for one in regions[:2])  # constant images: squares
    assert len({tuple(one.flatten().tolist()) for one in regions}) > 1
    for row in range(4):
        assert torch.equal(Slic(regions=16)(images[row, None])[0], regions[row])
    assert torch.equal(Slic(regions=16)(images.flip(0)), regions.flip(0))


def test_slic_of_the_same_image_is_clustered_once(monkeypatch):
    from skimage import segmentation

    images, clustered, cluster = pictures(batch=2), [], segmentation.slic
    monkeypatch.setattr(segmentation, "slic", lambda image, **settings: clustered.append(settings) or cluster(image, **settings))
    superpixels.KEPT.clear()
    regions = Slic(regions=9)(images)
    assert torch.equal(Slic(regions=9)(images.flip(0)), regions.flip(0))
    assert len(clustered) == 2
    regions.zero_()  # what a caller does with its regions is its own affair
    assert Slic(regions=9)(images).any()
    Slic(regions=4)(images)
    Slic(regions=9, compactness=1.0)(images)
    Slic(regions=9)(images + 0.01)
    Slic(regions=9)(images.transpose(2, 3))
    assert len(clustered) == 10
    assert superpixels.KEPT.currsize == 10 * regions[0].nbytes <= superpixels.KEPT.maxsize


def test_slic_follows_edges():
    image = torch.zeros(1, 1, 16, 16)
    image[..., 5:11, 5:11] = 1
    (regions,) = Slic(regions=9, compactness=0.05)(image)
    bright = regions[image[0, 0] > 0].unique()
    dark = regions[image[0, 0] == 0].unique()
    assert not set(bright.tolist()) & set(dark.tolist())
    (squares,) = Squares(3)(image)
    assert set(squares[image[0, 0] > 0].tolist()) & set(squares[image[0, 0] == 0].tolist())


@pytest.mark.parametrize("superpixels", [Pixels(), Squares(3), Halves(3), Slic(9)])
def test_images_are_left_alone(superpixels):
    images = pictures()
    before = images.clone()
    regions = superpixels(images)
    assert torch.equal(images, before)
    assert (len(regions) == 1) == superpixels.shared
