"""MNIST with a small patch that gives the class away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import annotated_types
import torch
from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.datasets.generated import SOURCES, AlteredDataset
from xaibench.problem import Arrays, Split

SIZE = 28


@dataclass(frozen=True)
class DecoyMnist(AlteredDataset):
    """Images with a uniform patch in a random corner, whose grey level 255 - 25 x class (of 255) gives the class away.

    Training and validation images have the patch of their class, so that classifiers may learn the shortcut. Masks: the patch, for all
    classes alike. It is the truth only as far as a classifier follows the shortcut, which must be measured: its accuracy with
    ``consistent`` less that with ``random`` patches, which lie on the same images in the same corners. Dense networks follow it;
    convolutional ones may not, and of those, relevance outside the mask says nothing against an explanation.

    Parameters
    ----------
    validation
        How many of the training images are held out for validation: stratified by class, and fixed.
    side
        Of the patch, in pixels.
    test_patches
        ``consistent``: test images too have the patch of their class, so that a classifier that relies on it is right because of it, and
        the mask is what it uses. ``random``: the patch of a random class, which misleads such a classifier.

    References
    ----------
    Ross, Hughes and Doshi-Velez, Right for the right reasons: training differentiable models by constraining their explanations,
    IJCAI 2017 (arXiv:1703.03717), decoy MNIST, 4 x 4 pixels. Differs: its test patches are random; here that is a choice.
    """

    has_masks: ClassVar = True
    shape: ClassVar = (1, SIZE, SIZE)

    validation: PositiveInt = 5000
    side: Annotated[int, annotated_types.Ge(1), annotated_types.Le(SIZE // 2)] = 4
    test_patches: Literal["consistent", "random"] = "consistent"

    def load(self) -> Arrays:
        """Read, or download, and verify the source's files, and put the patches on."""
        source = SOURCES[self.source](validation=self.validation).load()
        train, _ = self._decoyed(source.train, 0)
        validation, _ = self._decoyed(source.validation, 1)
        test, masks = self._decoyed(source.test, 2, self.test_patches == "consistent")
        return Arrays(train, validation, test, masks)

    def _decoyed(self, split: Split, part: int, consistent: bool = True) -> tuple[Split, Tensor]:
        """The split with patches, and (N, H, W) where they are."""
        draws = self.draws(len(split.labels), part)
        patch = corners(self.side)[draws.integers(4)]
        named = split.labels if consistent else draws.integers(len(self.classes))
        grey = (255 - 25 * named).float()[:, None, None, None] / 255
        return Split(torch.where(patch[:, None], grey, split.images), split.labels), patch


def corners(side: int) -> Tensor:
    """(4, H, W) bool: squares of this side at the four corners."""
    start = torch.arange(SIZE) < side
    ends = torch.stack([start, start.flip(0)])
    return (ends[:, None, :, None] & ends[None, :, None, :]).flatten(0, 1)
