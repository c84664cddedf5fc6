"""How training images lose pixels before a helper is trained with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench import curves
from xaibench.component import ConfigurationError, Fraction, PositiveInt
from xaibench.curves import First, Ties
from xaibench.maps import Pooling
from xaibench.problem import Alteration, Attributions, Explainer, Problem
from xaibench.removal import Removal
from xaibench.seeding import Rng
from xaibench.superpixels import Squares


@dataclass(frozen=True, kw_only=True)
class RemoveRelevant(Alteration):
    """Images without the pixels that an explainer finds the most, or the least, relevant for the class that the classifier predicts.

    Parameters
    ----------
    explainer
        Explains every image for its predicted class, with the draws that it has for test images: those common to all images are the same.
    share
        Share of each image's pixels that is removed, rounded to whole pixels: see `removed_pixels`.
    first
        Which end of the ranking goes.
    removal
        What a removed pixel becomes; of several versions each image gets one, drawn.
    pooling, ties
        See `curves.ranking`.

    Raises
    ------
    ConfigurationError
        If the explanation of an image holds a NaN, which ranks nothing.
    """

    explainer: Explainer
    share: Fraction
    first: First
    removal: Removal
    pooling: Pooling
    ties: Ties

    def looks_at(self) -> Explainer | None:
        """See `Alteration`."""
        return self.explainer

    def __call__(self, problem: Problem, explanation: Attributions | None, rng: Rng) -> Tensor:
        """See `Alteration`."""
        assert explanation is not None
        ranked = curves.ranking(problem, explanation, rng, self.pooling, ties=self.ties)
        if not ranked.defined.all():
            count = int((~ranked.defined).sum())
            raise ConfigurationError(
                f"explainer={self.explainer}: expected numbers for every training image, got NaN for {count} of a block"
            )
        rank, pixels = ranked.rank[:, :1], problem.images[0, 0].numel()
        number = removed_pixels(self.share, pixels)
        return removed(problem, rank >= number if self.first == "most" else rank < pixels - number, self.removal, rng)


@dataclass(frozen=True, kw_only=True)
class RemoveAtRandom(Alteration):
    """Images without pixels that are drawn for each of them.

    Parameters
    ----------
    share
        Share of each image's pixels that is removed, rounded to whole pixels: see `removed_pixels`.
    removal
        What a removed pixel becomes; of several versions each image gets one, drawn.
    """

    share: Fraction
    removal: Removal

    def __call__(self, problem: Problem, explanation: Attributions | None, rng: Rng) -> Tensor:
        """See `Alteration`."""
        height, width = problem.images.shape[-2:]
        rank = rng.each(problem.index).permutation(height * width).reshape(-1, 1, height, width)
        return removed(problem, rank >= removed_pixels(self.share, height * width), self.removal, rng)


@dataclass(frozen=True, kw_only=True)
class RemoveSquare(Alteration):
    """Images without one square of a grid, which is drawn for each of them; some stay whole.

    Parameters
    ----------
    side
        Squares along each side: see `superpixels.Squares`.
    share
        Probability that an image loses a square.
    removal
        What a removed pixel becomes; of several versions each image gets one, drawn.
    """

    side: PositiveInt
    share: Fraction
    removal: Removal

    def __call__(self, problem: Problem, explanation: Attributions | None, rng: Rng) -> Tensor:
        """See `Alteration`."""
        region, each = Squares(self.side)(problem.images), rng.each(problem.index)
        square = each.integers(int(region.max()) + 1, 1, 1)
        whole = each.uniform(1, 1) > self.share
        return removed(problem, ((region != square) | whole)[:, None], self.removal, rng)


def removed_pixels(share: float, pixels: int) -> int:
    """How many pixels a share is: the nearest number, halves to even."""
    return round(share * pixels)


def removed(problem: Problem, kept: Tensor, removal: Removal, rng: Rng) -> Tensor:
    """(B, C, H, W): the images with only the pixels that are `kept` (B, 1, H, W), in one drawn version of what becomes of the others."""
    draws = replace(rng, component=f"{rng.component} removal")  # not the stream that says which pixels go
    remove = removal.prepared(problem, draws)
    version = replace(draws, component=f"{draws.component} version").each(problem.index).integers(removal.draws(problem))
    rows = torch.arange(len(problem.images), device=problem.images.device).split(problem.chunk)
    return torch.cat([remove(row, kept[row], version[row]) for row in rows])
