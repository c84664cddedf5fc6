"""Tetrominoes in noise: images of which is known where the classes differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import annotated_types
import numpy as np
import torch

from xaibench.datasets.generated import GeneratedDataset
from xaibench.problem import Arrays, Split

SIDE = 8
T, L = np.array([[1, 0], [1, 1], [1, 0]]), np.array([[1, 0], [1, 0], [1, 1]])
AT = ((1, 1), (4, 5))  # row and column of T and of L where their places are fixed
SMOOTHING = 3.0
STRENGTH = {  # a of the pattern, before white and before correlated noise
    "linear": {"white": 0.18, "correlated": 0.0125},
    "multiplicative": {"white": 0.7, "correlated": 0.1},
    "translations_rotations": {"white": 0.65, "correlated": 0.2},
    "xor": {"white": 0.35, "correlated": 0.15},
}


@dataclass(frozen=True)
class XaiTris(GeneratedDataset):
    """Two classes of 8 x 8 images: a tetromino, T (class 0) or L (class 1), before a background of noise.

    Values x in [-1, 1] are stored as (x + 1) / 2: **what is absent is grey, .5 (`absent`), not black**. A baseline of 0 says -1.

    Pattern P and noise B are each divided by the Frobenius norm of their whole matrix (images x pixels), put together as
    x = a P + (1 - a) B, and all x divided by the largest |x|. Classes alternate, so that each has half of every split; the first 80 % of
    the images are for training, the next 10 % for validation, the last 10 % for the test: all are drawn independently. With the same
    `data_seed`, scenarios and backgrounds share their noise before it is smoothed.

    Masks: the pattern's pixels, for all classes alike; of xor, those of both patterns. A linear classifier also sees that the *other*
    class's pattern is absent; as in the paper, that does not count as relevant.

    Parameters
    ----------
    scenario
        ``linear``: each class has its pattern at a fixed place. ``multiplicative``: the same, but P is replaced by 1 - a P, and
        x = P B: the pattern dims the noise. ``translations_rotations``: the pattern at a random place, turned by a random multiple
        of 90 degrees. ``xor``: both patterns at their fixed places, of equal (class 0) or opposite sign (class 1).
    background
        ``white``: independent normal noise; ``correlated``: the same smoothed by a Gaussian of 3 pixels.
    images
        How many in all.

    References
    ----------
    Clark, Wilming and Haufe, XAI-TRIS: non-linear image benchmarks to quantify false positive post-hoc attribution of feature importance,
    Machine Learning 2024 (arXiv:2306.12816), 8 x 8 images. Differs: mapped to [0, 1]; float32 where theirs are float16; the two signs of
    a class in xor are drawn, so that they are equally frequent only on average; splits by position instead of a stratified shuffle.
    """

    has_masks: ClassVar = True
    shape: ClassVar = (1, SIDE, SIDE)
    classes: ClassVar = ("T", "L")
    absent: ClassVar = 0.5

    scenario: Literal["linear", "multiplicative", "translations_rotations", "xor"] = "linear"
    background: Literal["white", "correlated"] = "white"
    images: Annotated[int, annotated_types.Ge(40)] = 10_000

    @property
    def train_images(self) -> int:
        """What the validation and the test images leave."""
        return self.images - 2 * self.test_images

    @property
    def test_images(self) -> int:
        """How many test images there are."""
        return self.images // 10

    def load(self) -> Arrays:
        """Generate the images."""
        from scipy.ndimage import gaussian_filter

        draws, labels = self.draws(self.images), np.arange(self.images) % 2
        noise = draws.normal(SIDE, SIDE).double().numpy()
        candidates = signed_patterns(self.scenario)
        pattern = candidates[labels, draws.integers(candidates.shape[1]).numpy()]
        if self.background == "correlated":
            noise = gaussian_filter(noise, (0, SMOOTHING, SMOOTHING))
        strength = STRENGTH[self.scenario][self.background]
        if self.scenario == "multiplicative":
            values = _normed(1 - strength * pattern) * _normed(noise)
        else:
            values = strength * _normed(pattern) + (1 - strength) * _normed(noise)
        grey = torch.from_numpy(self.absent + values / np.abs(values).max() / 2).float()[:, None]
        return self._split(grey, torch.from_numpy(labels), torch.from_numpy(pattern != 0))

    def _split(self, images: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor) -> Arrays:
        sizes = [self.train_images, self.test_images, self.test_images]
        train, validation, test = (Split(*both) for both in zip(images.split(sizes), labels.split(sizes), strict=True))
        return Arrays(train, validation, test, masks[-self.test_images :])


def signed_patterns(scenario: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(2, M, 8, 8): the M equally likely patterns of either class, 0 where there is none."""
    fixed = [_placed(shape, *at) for shape, at in zip((T, L), AT, strict=True)]
    if scenario == "xor":
        return np.array([[fixed[0] + fixed[1], -fixed[0] - fixed[1]], [fixed[0] - fixed[1], fixed[1] - fixed[0]]])
    if scenario == "translations_rotations":
        return np.array([_everywhere(shape) for shape in (T, L)])
    return np.array(fixed)[:, None]


def _everywhere(shape: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    turned = [np.rot90(shape, turns) for turns in range(4)]
    places = [(one, row, column) for one in turned for row in range(SIDE + 1 - one.shape[0]) for column in range(SIDE + 1 - one.shape[1])]
    return [_placed(*place) for place in places]


def _placed(shape: np.ndarray[Any, Any], row: int, column: int) -> np.ndarray[Any, Any]:
    canvas = np.zeros((SIDE, SIDE))
    canvas[row : row + shape.shape[0], column : column + shape.shape[1]] = shape
    return canvas


def _normed(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Divided by its Frobenius norm; numpy sums in one thread, so that the bits do not depend on the number of threads."""
    return matrix / np.sqrt(np.square(matrix).sum())
