"""A study's budget: the passes that one cell may take, and what becomes of a cell that would take more."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xaibench.component import Component, PositiveInt
from xaibench.selection import ExplainOn


@dataclass(frozen=True)
class Budget(Component):
    """The most passes through the classifier, forward and backward, that an image may take, in being explained and in scoring that.

    A stage that takes more is limited to the first `images` images, in the order in which `explain_on` chooses them. The cell is skipped
    if even these take more in total than all of its images may.

    Parameters
    ----------
    explaining, scoring
        Passes for each image; explaining counts once for all metrics.
    images
        How many images are explained, or scored, where these do not do for all.
    """

    explaining: PositiveInt = 20_000
    scoring: PositiveInt = 20_000
    images: PositiveInt = 50

    @property
    def most(self) -> tuple[int, int]:
        """The passes that an image may take, in explaining and in scoring."""
        return self.explaining, self.scoring

    def reduced(self, explain_on: ExplainOn) -> ExplainOn:
        """The first `images` images of a choice."""
        if explain_on.indices is not None:
            return replace(explain_on, indices=tuple(sorted(set(explain_on.indices))[: self.images]))
        return replace(explain_on, count=min(self.images, explain_on.count or self.images))


def affords(passes: int, few: int, count: int, most: int) -> int:
    """On how many of `count` images, when `few` of them take so many passes and each may take `most`: all, `few`, or 0."""
    if passes <= few * most:
        return count
    return few if passes <= count * most else 0
