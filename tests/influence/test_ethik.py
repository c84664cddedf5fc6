"""Parity with ethik 0.0.4 on MNIST's 10,000 test images, from what it gave in an environment of its own (`xaibench.ethik_parity`)."""

import numpy as np
import pytest

from xaibench.datasets.mnist import Mnist
from xaibench.ethik_parity.__main__ import FOLDER
from xaibench.influence.reweighting import reweighted


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "reference.npz"))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    images = Mnist().load().test.images
    return (images * 255).round().byte().numpy().reshape(len(images), -1)


@pytest.mark.usefixtures("real_data")
def test_equal_at_the_mean_that_ethik_reached_and_the_constraint_holds_where_it_stopped_early(stored, request):
    pixels = request.getfixturevalue("pixels")
    probabilities = stored["probabilities"].astype(np.float64)
    ours = reweighted(pixels, probabilities, tuple(stored["taus"]))
    assert np.array_equal(ours.targets, stored["target"])
    same = reweighted(pixels, probabilities, targets=stored["reached"])
    assert np.abs(same.means - stored["influence"]).max() < 1e-10
    span = np.maximum(np.ptp(pixels, axis=0).astype(float), 1)[:, None]
    assert (np.abs(stored["reached"] - stored["target"]) / span).max() > 1e-3  # ethik, which says that it converged
    assert stored["converged"].all()
    assert ours.residual.max() < 1e-8
    # by plain arithmetic with the multiplier, for the pixels that move inside their range
    values = pixels.astype(np.float64)
    for pixel in np.flatnonzero(ours.moved[:, 2] & ~ours.boundary[:, 2])[::20]:
        weights = np.exp(ours.multiplier[pixel, 2] * (values[:, pixel] - 255))
        weights /= weights.sum()
        assert weights @ values[:, pixel] == pytest.approx(ours.targets[pixel, 2], abs=255e-8)
        assert np.allclose(weights @ probabilities, ours.means[pixel, 2])
    # within ethik's own tolerance, a hundredth of the standard deviation of the pixel
    assert np.abs(ours.means - stored["influence"]).max() < 0.06
