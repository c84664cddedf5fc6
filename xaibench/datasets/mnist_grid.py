"""Four digits in a grid: images of which is known where each class is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import annotated_types
import torch
from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.datasets.generated import SOURCES, AlteredDataset
from xaibench.datasets.splits import cut
from xaibench.problem import Arrays, Split

SIZE = 28
Stratified = Annotated[int, annotated_types.Ge(10), annotated_types.Le(25_000)]


@dataclass(frozen=True)
class MnistGrid(AlteredDataset):
    """Images of 56 x 56 pixels: one digit to learn from, and four digits of different classes to explain.

    A training or validation image is one image of the source in a random quadrant of a black canvas. A test image is a 2 x 2 grid of four
    test images of the source, of different classes; its label is the class of a quadrant chosen at random, so that the expected
    accuracy of any classifier is at most 1/4. Masks, one for each class: the quadrant that holds the class; none of the six classes
    that are absent has a pixel. Explain all classes, or choose targets, and a good explanation of each lies in its own quadrant.

    Parameters
    ----------
    train_images, validation_images
        How many of the source's 60,000 training images are used: stratified by class, fixed and disjoint.
    test_images
        How many grids. Their images are drawn with replacement from those of each class.

    References
    ----------
    Bohle, Fritz and Schiele, Convolutional dynamic alignment networks for interpretable classifications, CVPR 2021 (arXiv:2104.00032):
    the grid pointing game. Differs: the images of a grid are drawn at random, where theirs are those that the classifier is surest of, so
    that all classifiers are given the same grids; 2 x 2 of MNIST in place of 3 x 3 of larger images.
    """

    has_masks: ClassVar = True
    shape: ClassVar = (1, 2 * SIZE, 2 * SIZE)

    train_images: Stratified = 12_000
    validation_images: Stratified = 2_000
    test_images: PositiveInt = 2_500

    def load(self) -> Arrays:
        """Read, or download, and verify the source's files, and put the grids together."""
        source = SOURCES[self.source](validation=self.validation_images).load()
        _, train = cut(source.train.images, source.train.labels, self.train_images)
        test, masks = self._grids(source.test)
        return Arrays(self._single(train, 0), self._single(source.validation, 1), test, masks)

    def _single(self, split: Split, part: int) -> Split:
        count = len(split.labels)
        tiles = torch.zeros(count, 4, SIZE, SIZE)
        tiles[torch.arange(count), self.draws(count, part).integers(4)] = split.images[:, 0]
        return Split(assembled(tiles)[:, None], split.labels)

    def _grids(self, split: Split) -> tuple[Split, Tensor]:
        """Grids labelled with the class of a random quadrant, and (N, K, H, W) where each class is."""
        draws, kinds = self.draws(self.test_images, 2), len(self.classes)
        held = draws.permutation(kinds)[:, :4]
        by_class, counts = split.labels.argsort(stable=True), split.labels.bincount(minlength=kinds)
        among = (draws.uniform(4).double() * counts[held]).long()
        chosen = by_class[(counts.cumsum(0) - counts)[held] + among]
        labels = held.gather(1, draws.integers(4, 1))[:, 0]
        holds = held[:, None, :] == torch.arange(kinds)[:, None]
        masks = assembled(holds[..., None, None].expand(*holds.shape, SIZE, SIZE))
        return Split(assembled(split.images[chosen, 0])[:, None], labels), masks


def assembled(tiles: Tensor) -> Tensor:
    """(..., 4, h, w), row by row, as a grid (..., 2h, 2w)."""
    *batch, _, height, width = tiles.shape
    return tiles.unflatten(-3, (2, 2)).transpose(-3, -2).reshape(*batch, 2 * height, 2 * width)
