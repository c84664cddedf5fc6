"""Subsets of an image's regions that are removed together, the same ones from all images, and what the metrics share that use them.

The changes of the output stand beside the sums of the attributions; a statistic of the two is the score of an (image, target).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.maps import Pooling, pool
from xaibench.metrics.changes import output_changes, resolved
from xaibench.metrics.correlations import pearson
from xaibench.perturb import Read
from xaibench.problem import Explainer, Explanation, Family, Passes, Problem
from xaibench.removal import Constant, Removal
from xaibench.scoring import Metric, Requires, Scores
from xaibench.seeding import Rng
from xaibench.superpixels import Pixels, Superpixels


@dataclass(frozen=True)
class Subsets:
    """Subsets of the regions of an image.

    Attributes
    ----------
    regions
        (H, W), int64: each pixel's region.
    chosen
        (S, R), bool: which regions a subset has; None where each region is a subset of its own.
    kept
        (S, 1, H, W), bool: the pixels that are not in a subset; or the (1, 1, H, W) regions where `chosen` is None.
    """

    regions: Tensor
    chosen: Tensor | None
    kept: Tensor

    def without(self, sample: Tensor) -> Tensor:
        """(n, 1, H, W), bool: the pixels that stay, for the subsets with the numbers (n,)."""
        if self.chosen is None:
            return self.kept != sample.to(torch.int32)[:, None, None, None]
        return self.kept.index_select(0, sample)

    def sums(self, maps: Tensor) -> Tensor:
        """(b, T, S), float32: the sums over the subsets' pixels of maps (b, T, H, W), float64.

        Rounded to float32 in the end, sums that differ only by the order of adding are equal: ranks need that.
        """
        region, flat = self.regions.flatten(), maps.flatten(2)
        count = int(region.max()) + 1
        alone = flat.new_zeros(*flat.shape[:2], count).index_add_(2, region, flat)
        return (alone if self.chosen is None else alone @ self.chosen.to(flat.dtype).T).to(torch.float32)


def singles(regions: Tensor) -> Subsets:
    """Each region (H, W) alone."""
    return Subsets(regions, None, regions[None, None].to(torch.int32))


def drawn(regions: Tensor, sizes: Sequence[int], samples: int, generator: torch.Generator) -> Subsets:
    """For each size, one after the other, `samples` random subsets of exactly so many regions, all equally likely."""
    count = int(regions.max()) + 1
    places = torch.rand(len(sizes), samples, count, generator=generator).argsort(dim=2).argsort(dim=2)
    chosen = (places < torch.tensor(sizes)[:, None, None]).flatten(0, 1).to(regions.device)
    return Subsets(regions, chosen, ~chosen.index_select(1, regions.flatten()).reshape(-1, 1, *regions.shape))


def size(fraction: float, count: int) -> int:
    """This fraction of `count` regions, rounded; at least one, and not all of them."""
    return max(1, min(round(fraction * count), count - 1))


@dataclass(frozen=True)
class SubsetMetric(Metric):
    """A correlation between attributions and what removing regions does to the output.

    Parameters
    ----------
    removal
        What a removed pixel becomes. Scores under different operators are not comparable.
    superpixels
        The regions that are removed as a whole, pixels by default; a region's attribution is the sum over its pixels.
    pooling
        How a pixel's channels become one number.
    output
        What is read of the target.
    """

    family: ClassVar[Family] = Family.FAITHFULNESS
    higher_is_better: ClassVar[bool | None] = True
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL})

    removal: Removal = Constant(0.0)
    superpixels: Superpixels = Pixels()
    pooling: Pooling = "sum"
    output: Read = "probability"

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs a model, the background that the removal may need, and regions that all images share."""
        divided = None if self.superpixels.shared else f"removes the same regions from all images, and {self.superpixels} differ"
        return super().unsupported(problem, explainer) or self.removal.unsupported(problem) or divided

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """One forward pass for each image, and one for each of its subsets and draws of the removal; all targets share them."""
        return Passes(len(problem.images) * (1 + self.count(problem) * self.removal.draws(problem)))

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        return Scores({"value": self.compared(problem, explanation, rng)})

    @abstractmethod
    def subsets(self, problem: Problem, rng: Rng) -> Subsets:
        """The subsets that are removed."""

    @abstractmethod
    def count(self, problem: Problem) -> int:
        """How many there are."""

    def effect(self, change: Tensor) -> Tensor:
        """(b, T, S): what a removal does, of the changes (b, T, S, D) of the output under each draw of the removal; their mean."""
        return change.mean(dim=3)

    def statistic(self, sums: Tensor, effects: Tensor) -> Tensor:
        """(b, T), or (b, T, several): how attributions (b, T, S) and effects (b, T, S) agree; Pearson's correlation."""
        return pearson(sums, effects)

    def regions(self, problem: Problem) -> Tensor:
        """(H, W), int64."""
        return self.superpixels(problem.images[:1])[0]

    def compared(self, problem: Problem, explanation: Explanation, rng: Rng) -> Tensor:
        """(B, T), or (B, T, several), float32: the statistic; NaN for a map that is constant or holds a NaN."""
        maps, subsets = pool(problem, explanation, self.pooling), self.subsets(problem, rng)
        count, draws, remove = self.count(problem), self.removal.draws(problem), self.removal.prepared(problem, rng)

        def alter(row: Tensor, number: Tensor) -> Tensor:
            return remove(row, subsets.without(number // draws), number % draws)

        found, read = [], resolved(self.output)
        together = max(1, perturb.GROUP_VALUES // (count * draws * problem.targets.shape[1]))
        for rows in torch.arange(len(maps), device=maps.device).split(together):
            after = perturb.values(problem, count * draws, alter, read, rows=rows)
            change = output_changes(perturb.values(problem, 1, unaltered(problem), read, rows=rows), after, self.output)
            found.append(self.statistic(subsets.sums(maps[rows]), self.effect(change.unflatten(2, (count, draws)))))
        values, flat = torch.cat(found), maps.flatten(2)
        constant = (flat.amax(2) == flat.amin(2)).reshape(*maps.shape[:2], *[1] * (values.dim() - 2))
        return torch.where(constant, torch.nan, values).to(torch.float32)


def unaltered(problem: Problem) -> perturb.Alter:
    """Gives the images as they are."""
    return lambda row, _: problem.images.index_select(0, row)
