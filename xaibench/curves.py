"""Rankings of pixels or regions, and what a classifier gives while they are removed in that order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench.maps import Pooling, pool
from xaibench.perturb import Read, read
from xaibench.problem import Attributions, Problem
from xaibench.removal import Removal
from xaibench.seeding import Rng, ascending
from xaibench.superpixels import Pixels, Superpixels

VERSION = 1

PIXELS = Pixels()

First = Literal["most", "least"]
"""Which end of a ranking goes first: the most relevant pixels (MoRF) or the least relevant (LeRF)."""

Ties = Literal["random", "row_major"]
"""How equal relevance is ranked: by a permutation drawn for each image, or as the pixels stand, row by row."""


@dataclass(frozen=True)
class Ranking:
    """The order of the regions (pixels, unless superpixels are asked for) for each (image, target).

    Attributes
    ----------
    rank
        (B, T, H, W), int32: its region's place for each pixel; 0 is the most relevant region.
    regions
        (B,), int64: how many regions an image has.
    most
        The most steps in which they can be removed: the regions, where all images have the same; None where they have regions of their own.
    tied
        (B, T), share of regions whose relevance another region of the map has too; NaN where not `defined`.
    defined
        (B, T), bool: False where the map holds a NaN, which ranks nothing. `rank` is meaningless there, and `curves` gives NaN.
    """

    rank: Tensor
    regions: Tensor
    most: int | None
    tied: Tensor
    defined: Tensor


def ranking(
    problem: Problem,
    attributions: Attributions,
    rng: Rng,
    pooling: Pooling = "sum",
    superpixels: Superpixels = PIXELS,
    ties: Ties = "random",
) -> Ranking:
    """The order of the regions, from most to least relevant, for each (image, target).

    A region is as relevant as the mean of its pixels. Ties are broken by a permutation that is drawn for each image from
    `rng.each(index)`, the same for all its targets, or row by row.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.
    """
    maps = pool(problem, attributions, pooling)
    defined = ~maps.flatten(2).isnan().any(dim=2)
    if isinstance(superpixels, Pixels):
        values, count = maps.flatten(2), maps[0, 0].numel()
        if attributions.values.shape[2] == 1:
            values = values.to(attributions.values.dtype)  # nothing was added up
        rank, tied = _ranks(values, _order(problem, count, rng, ties))
        regions = torch.full((len(maps),), count, device=maps.device)
        return Ranking(rank.reshape(maps.shape), regions, count, torch.where(defined, tied, torch.nan), defined)
    region = superpixels(problem.images).flatten(1).expand(len(maps), -1)
    regions, count = region.amax(1) + 1, int(region.max()) + 1
    values, absent = _means(maps.flatten(2), region, count), torch.arange(count, device=maps.device) >= regions[:, None]
    # regions that an image does not have come last, whatever the others' relevance, be it -inf
    values = values.clamp(min=torch.finfo(values.dtype).min).masked_fill(absent[:, None], -torch.inf)
    rank, tied = _ranks(values, _order(problem, count, rng, ties), absent)
    rank = rank.gather(2, region[:, None].expand(-1, rank.shape[1], -1)).reshape(maps.shape)
    return Ranking(rank, regions, count if superpixels.shared else None, torch.where(defined, tied, torch.nan), defined)


def _order(problem: Problem, count: int, rng: Rng, ties: Ties) -> Tensor:
    """(B, count): the order in which equal regions are ranked."""
    if ties == "random":
        return rng.each(problem.index).permutation(count)
    return torch.arange(count, device=problem.images.device).expand(len(problem.images), -1)


def _ranks(values: Tensor, order: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Ranks (B, T, R), int32, and share of tied regions (B, T), of relevance (B, T, R)."""
    shuffled, numbers = order[:, None].expand(values.shape), torch.arange(values.shape[2], device=values.device)
    ordered, place = _sorted(values.gather(2, shuffled), numbers)
    rank = torch.empty_like(place, dtype=torch.int32).scatter_(2, shuffled.gather(2, place), numbers.to(torch.int32).expand(values.shape))
    equal = torch.nn.functional.pad(ordered[..., 1:] == ordered[..., :-1], (1, 1))
    tied = (equal[..., 1:] | equal[..., :-1]).to(torch.float32)
    if absent is None:
        return rank, tied.mean(dim=2)
    there = ~absent.sort(dim=1, stable=True).values[:, None]
    return rank, (tied * there).sum(dim=2) / there.sum(dim=2)


def _sorted(values: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers that are equal where the values are, the highest values first, and each one's place before; of equal ones the first first."""
    if values.dtype != torch.float32:
        ordered, place = values.sort(dim=2, descending=True, stable=True)
        return ordered, place
    # Integers sort several times as fast: above the value, below its place.
    ordered = ascending(_descending(values).to(torch.int64).bitwise_left_shift_(32).bitwise_or_(numbers))
    return ordered >> 32, ordered.bitwise_and_(2**32 - 1)


def _descending(values: Tensor) -> Tensor:
    """int32 that are the smaller the larger the float32, and equal where those are; NaN gives anything."""
    bits = (values + 0.0).view(torch.int32)  # -0 becomes 0
    # negative numbers in IEEE 754 are a sign and a magnitude; all bits but the sign flipped, they ascend
    return (bits >> 31).bitwise_and_(2**31 - 1).bitwise_xor_(bits).bitwise_not_()


def _means(values: Tensor, region: Tensor, count: int) -> Tensor:
    """(B, T, R): mean of the pixels' values (B, T, P) in each region (B, P)."""
    where = region[:, None].expand(values.shape)
    sums = values.new_zeros(*values.shape[:2], count).scatter_add_(2, where, values)
    sizes = values.new_zeros(len(region), count).scatter_add_(1, region, torch.ones_like(values[:, 0]))
    return sums / sizes.clamp(min=1)[:, None]


def counts(ranked: Ranking, steps: int) -> Tensor:
    """(B, S + 1), int64: regions removed at each step s, s R / S rounded (halves to even); S = `steps`, at most `ranked.most`."""
    steps = min(steps, ranked.most or steps)
    share = torch.arange(steps + 1, device=ranked.regions.device, dtype=torch.float64)
    return (share * ranked.regions[:, None] / steps).round().to(torch.int64)


def fractions(ranked: Ranking, steps: int, put_back: bool = False) -> Tensor:
    """(S + 1,), float64: share of regions removed at each step, from 0 to 1; where images differ in regions, s / S.

    Or, of a curve that is read backwards, the share that is put back.
    """
    steps = min(steps, ranked.most or steps)
    share = torch.arange(steps + 1, device=ranked.regions.device, dtype=torch.float64)
    removed = (share * (ranked.most or steps) / steps).round()
    return (removed[-1] - removed.flip(0) if put_back else removed) / removed[-1]


def points(problem: Problem, superpixels: Superpixels, steps: int) -> int:
    """S + 1, the points of a curve."""
    return (min(steps, int(superpixels(problem.images[:1]).max()) + 1) if superpixels.shared else steps) + 1


def curves(
    problem: Problem,
    ranked: Ranking,
    removal: Removal,
    rng: Rng,
    removed: Tensor,
    reads: tuple[Read, ...],
    first: First = "most",
    classes: Tensor | None = None,
    log_of_mean: bool = False,
) -> dict[Read, Tensor]:
    """What is read of the classifier while regions are removed in the order of a ranking.

    Parameters
    ----------
    problem
        Its (image, target, step, draw of the removal) inputs go through the model in chunks of `problem.chunk`.
    ranked
        One ranking serves all curves.
    removal, rng
        What a removed pixel becomes; reads of several draws are averaged.
    removed
        (B or 1, S + 1): how many regions are gone at each step, such as `counts`.
    reads
        What to read.
    first
        Whether the `most` or the `least` relevant regions go first.
    classes
        (B, T): the classes it is read of; the targets by default.
    log_of_mean
        Whether log-probabilities of several draws become the logarithm of the mean probability, not the mean of the logarithms.

    Returns
    -------
    dict
        (B, T, S + 1) each. NaN where the ranking is not defined.
    """
    (batch, targets, height, width), (_, steps) = ranked.rank.shape, removed.shape
    draws, model, remove = removal.draws(problem), problem.classifier, removal.prepared(problem, rng)
    ranks, per_pair = ranked.rank.reshape(-1, 1, height, width), steps * draws
    numbers = removed if first == "most" else ranked.regions[:, None] - removed
    numbers = numbers.to(torch.int32).expand(batch, steps).flatten()
    wanted = (problem.targets if classes is None else classes).flatten()
    positions = torch.arange(batch * targets * per_pair, device=problem.images.device)
    found = {what: problem.images.new_empty(len(positions)) for what in reads}
    with torch.inference_mode():
        for chunk in positions.split(problem.chunk):
            pair, step = chunk // per_pair, chunk % per_pair // draws
            row = pair // targets
            number = numbers[row * steps + step].reshape(-1, 1, 1, 1)
            rank = ranks.index_select(0, pair)  # copies whole maps; indexing goes value by value
            kept = rank >= number if first == "most" else rank < number
            logits = model(remove(row, kept, chunk % draws))
            for what, values in found.items():
                values[chunk] = read(logits, wanted[pair, None], what)[:, 0]
    means = {}
    for what, values in found.items():
        shaped, logs = values.reshape(batch, targets, steps, draws), log_of_mean and what == "log_probability"
        mean = shaped.logsumexp(3) - math.log(draws) if logs else shaped.mean(3)
        means[what] = torch.where(ranked.defined[..., None], mean, torch.nan)
    return means


def area(curve: Tensor, axis: Tensor) -> Tensor:
    """Area under curves (..., S + 1) over `axis` (S + 1,), by the trapezoidal rule; NaN where a point is."""
    return torch.trapezoid(curve.to(torch.float64), axis).to(curve.dtype)
