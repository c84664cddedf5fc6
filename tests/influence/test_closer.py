"""A closer look at pixels: against the closed form of a binary pixel, and against the analysis itself at the ends."""

import numpy as np
import pytest
import torch

from xaibench.influence.analysis import Influence
from xaibench.influence.closer import ENDS, TAUS, curves, mean_images
from xaibench.influence.targets import RangeTargets
from xaibench.superpixels import Squares

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(80, 1, 4, 6, generator=GENERATOR)
PROBABILITIES = torch.rand(80, 3, generator=GENERATOR).softmax(1)
LABELS = torch.randint(0, 3, (80,), generator=GENERATOR)
GIVEN = (IMAGES, PROBABILITIES, LABELS, ("a", "b", "c"))


@pytest.mark.parametrize("method", [Influence(resamples=6), Influence(resamples=6, superpixels=Squares(2), targets=RangeTargets(0.1))])
def test_the_ends_are_those_of_the_analysis(method):
    whole, found = method(*GIVEN, seed=2), curves(method, *GIVEN, [(0, 1), (3, 5)], seed=2)
    assert found["means"].shape == (2, len(TAUS), 6)
    for place, (row, column) in enumerate([(0, 1), (3, 5)]):
        for step, end in ((0, 0), (-1, -1)):
            for suffix in ("", "_low", "_high"):
                expected = torch.cat([whole[f"probability{suffix}"][end], whole[f"performance{suffix}"][end, :3]])[:, row, column]
                assert np.allclose(found[f"means{suffix}"][place, step], expected)
            assert found["effective"][place, step] == pytest.approx(float(whole["effective"][end, row, column]))


def test_in_the_middle_nothing_is_reweighted():
    found = curves(Influence(resamples=0), *GIVEN, [(1, 1)])
    middle = TAUS.index(0.0)
    right = float((PROBABILITIES.argmax(1) == LABELS).double().mean())
    assert np.allclose(found["means"][0, middle, :4], [*PROBABILITIES.double().mean(0), right])
    assert found["effective"][0, middle] == pytest.approx(80)
    assert "means_low" not in found


def test_the_mean_image_of_a_binary_pixel_is_that_of_the_images_that_have_it():
    images = IMAGES.clone()
    images[:, 0, 2, 2] = (torch.arange(80) < 20).float()
    found = mean_images(Influence(targets=RangeTargets(0.0)), images, [(2, 2)])[0]
    for image, expected in zip(found, (images[20:], images, images[:20]), strict=True):
        assert np.allclose(image, expected.double().mean(0), atol=1e-12)
    assert len(found) == len(ENDS)


def test_colored_images_keep_their_channels_and_the_pixel_has_its_target():
    images = torch.rand(60, 3, 4, 4, generator=GENERATOR)
    found = mean_images(Influence(), images, [(1, 3), (0, 0)])
    assert found.shape == (2, 3, 3, 4, 4)
    target = Influence(resamples=0)(images, PROBABILITIES[:60], LABELS[:60], ("a", "b", "c"))["targets"][-1, 1, 3]
    assert found[0, 2, :, 1, 3].mean() == pytest.approx(float(target), abs=1e-6)
    assert np.allclose(found[:, 1], images.double().mean(0))


@pytest.mark.parametrize("pixels", [[], [(4, 0)], [(0, -1)]])
def test_pixels_that_are_not_there_are_told(pixels):
    with pytest.raises(ValueError, match=r"expected at least one \(row, column\) inside 4 x 6"):
        mean_images(Influence(), IMAGES, pixels)
