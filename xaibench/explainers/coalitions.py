"""Coalitions of superpixels: their outputs, and the estimators that are linear in them (a design and a matrix).

A method first asks for `groups`: images with the same number M of superpixels, for which it makes coalitions (S, M) once; or for
`players`, which leaves out superpixels that the removal does not change: their Shapley values are 0. `values` gives the coalitions'
outputs, `combined` weighted sums of these in bounded memory, `spread` turns a number for each superpixel into a map, and `merged` puts
the groups' results into the problem's order. `explain` is all of this for methods that are a `Design`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from xaibench import perturb
from xaibench.problem import Attributions, Output, Passes, Problem
from xaibench.removal import Removal
from xaibench.superpixels import Superpixels

VERSION = 1

MASK_BYTES = 2**27
"""How many bytes of masks are kept; where all coalitions' masks need more, each chunk makes its own."""


@dataclass(frozen=True)
class Group:
    """Images with the same number of superpixels.

    Attributes
    ----------
    problem
        These images' part of the problem.
    rows
        (n,), their rows in it.
    regions
        (1, H, W) where all images share them, else (n, H, W), int64: each pixel's superpixel; M where it belongs to none.
    count
        M, the number of superpixels.
    changed
        (n, M), bool: which superpixels the removal changes, where `players` or `changing` asked for it.
    even
        Whether it changes them about equally.
    """

    problem: Problem
    rows: Tensor
    regions: Tensor
    count: int
    changed: Tensor | None = None
    even: bool = True


@dataclass(frozen=True)
class Design:
    """An estimator that is linear in the outputs of its coalitions, the same ones for all images and classes.

    Attributes
    ----------
    coalitions
        (S, M), bool: True where the superpixel is present. For estimators of Shapley values row 0 is the empty and row 1 the full one.
    weights
        (S, M), float64: the superpixels' values are outputs (S,) @ weights.
    """

    coalitions: Tensor
    weights: Tensor


def groups(problem: Problem, superpixels: Superpixels) -> list[Group]:
    """The images by their number of superpixels: one group where they share them."""
    regions = superpixels(problem.images)
    rows = torch.arange(len(problem.images), device=problem.images.device)
    if superpixels.shared:
        return [Group(problem, rows, regions, int(regions.max()) + 1)]
    counts = regions.flatten(1).amax(1) + 1
    found = []
    for count in counts.unique().tolist():
        chosen = rows[counts == count]
        found.append(Group(problem.take(chosen), chosen, regions[chosen], count))
    return found


def players(problem: Problem, superpixels: Superpixels, removal: Removal) -> list[Group]:
    """The images by how many superpixels the removal changes, and how evenly; superpixel 0 is the one that it changes most.

    A change is the sum of squares over a superpixel. The number is rounded up, so that few designs serve many images: superpixels that
    do not change fill the places. They are also all that there is in an image that the removal does not change at all.
    """
    found: list[Group] = []
    if not removal.local:
        return groups(problem, superpixels)
    for group in groups(problem, superpixels):
        change = changes(group, removal)
        counts = _rounded((change > 0).sum(1)).clamp(max=group.count)
        kinds = 2 * counts + _even(change)
        place = change.to(torch.float32).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        for kind in kinds.unique().tolist():
            rows, count = (kinds == kind).nonzero()[:, 0], kind // 2
            label = place[rows].clamp(max=count)
            flat = group.regions.flatten(1).expand(len(counts), -1)[rows]
            regions = label.gather(1, flat).unflatten(1, group.regions.shape[1:])
            changed = change[rows].sort(dim=1, descending=True).values[:, :count] > 0
            found.append(Group(group.problem.take(rows), group.rows[rows], regions, count, changed, bool(kind % 2)))
    return found


def changing(problem: Problem, superpixels: Superpixels, removal: Removal) -> list[Group]:
    """`groups` that know which superpixels the removal changes, if one alone tells that.

    The others' contributions are exactly 0. Passes of equal images differ in the last bits on some processors: without this their ranks
    would be noise.
    """
    found = groups(problem, superpixels)
    return [replace(group, changed=changes(group, removal) > 0) for group in found] if removal.local else found


def values(group: Group, removal: Removal, coalitions: Tensor, output: Output) -> Tensor:
    """(n, T, S): the explained output of each image when only the superpixels of coalition s are present; coalitions are (S, M), bool."""
    draws, alter = _altering(group, removal, coalitions)
    return perturb.values(group.problem, len(coalitions), alter, output, draws)


def combined(group: Group, removal: Removal, coalitions: Tensor, weights: Tensor, output: Output) -> Tensor:
    """(n, T, P), float64: `values` @ weights (S, P), in bounded memory."""
    draws, alter = _altering(group, removal, coalitions)
    return perturb.combined(group.problem, len(coalitions), alter, weights, output, draws)


def spread(values: Tensor, regions: Tensor, equally: bool = True) -> Tensor:
    """(n, T, 1, H, W), float32: each pixel's share of its superpixel's value (n, T, M), or, if not `equally`, that value.

    A pixel that belongs to no superpixel gets 0.
    """
    flat = regions.flatten(1)
    values = functional.pad(values, (0, 1))
    if equally:
        sizes = torch.zeros(len(flat), values.shape[2], dtype=values.dtype, device=flat.device)
        sizes = sizes.scatter_add_(1, flat, torch.ones_like(flat, dtype=values.dtype))
        values = values / sizes.clamp(min=1)[:, None]
    maps = values.to(torch.float32)
    shared = len(flat) == 1
    maps = maps.index_select(2, flat[0]) if shared else maps.gather(2, flat[:, None].expand(-1, values.shape[1], -1))
    return maps.unflatten(2, (1, *regions.shape[1:]))


def merged(found: list[Tensor], parts: list[Group]) -> Tensor:
    """Results (n, ...) of all groups in the order of the problem's images."""
    return found[0] if len(found) == 1 else torch.cat(found)[torch.cat([part.rows for part in parts]).argsort()]


def explain(parts: list[Group], removal: Removal, make: Callable[[Group], Design], output: Output) -> Attributions:
    """Maps and totals of an estimator of Shapley values; `make` gives the design for a group."""
    maps, totals = [], []
    for part in parts:
        design = make(part)
        total = torch.zeros(len(design.coalitions), 1, dtype=torch.float64)
        total[:2, 0] = torch.tensor([-1.0, 1.0])
        found = combined(part, removal, design.coalitions, torch.cat([design.weights, total], dim=1), output)
        maps.append(spread(_without_unchanged(found[..., :-1], part.changed), part.regions))
        totals.append(found[..., -1].to(torch.float32))
    return Attributions(merged(maps, parts), merged(totals, parts))


def passes(problem: Problem, superpixels: Superpixels, removal: Removal, evaluations: Callable[[int], int]) -> Passes:
    """One forward pass for each image, coalition and draw of the removal; `evaluations` gives the coalitions for M superpixels."""
    return group_passes(groups(problem, superpixels), removal, evaluations)


def group_passes(parts: list[Group], removal: Removal, evaluations: Callable[[int], int]) -> Passes:
    """`passes`, of `groups` or of `players`."""
    return Passes(forward=sum(len(part.rows) * evaluations(part.count) * removal.draws(part.problem) for part in parts))


def unsupported(problem: Problem, removal: Removal) -> str | None:
    """Why superpixels cannot be removed from these images, or None."""
    return f"{removal} draws what is absent, and explainers remove nothing by chance" if removal.random else removal.unsupported(problem)


def _altering(group: Group, removal: Removal, coalitions: Tensor) -> tuple[int, perturb.Alter]:
    """The removal's draws, and a function that gives images with only a coalition's superpixels."""
    problem, draws = group.problem, removal.draws(group.problem)
    height, width = problem.images.shape[-2:]
    # one more column, for pixels that belong to no superpixel
    regions, coalitions = group.regions.flatten(1), functional.pad(coalitions.to(problem.images.device), (0, 1))
    kept = coalitions.index_select(1, regions[0]) if len(regions) == 1 and len(coalitions) * height * width <= MASK_BYTES else None

    def alter(row: Tensor, sample: Tensor) -> Tensor:
        coalition = sample // draws if draws > 1 else sample
        if kept is not None:
            mask = kept.index_select(0, coalition)
        elif len(regions) == 1:
            mask = coalitions.index_select(0, coalition).index_select(1, regions[0])
        else:
            mask = coalitions.index_select(0, coalition).gather(1, regions.index_select(0, row))
        # index_select copies whole images; indexing goes value by value
        images = problem.images.index_select(0, row)
        return removal(images, mask.unflatten(1, (1, height, width)), problem, sample % draws if draws > 1 else None)

    return draws, alter


def changes(group: Group, removal: Removal) -> Tensor:
    """(n, M), float64: the sum of squares of what the removal changes in each superpixel, over channels and draws."""
    problem, images = group.problem, group.problem.images
    nothing = torch.zeros_like(images[:, :1], dtype=torch.bool)
    pixels = torch.zeros_like(images[:, 0], dtype=torch.float64)
    for draw in range(removal.draws(problem)):
        removed = removal(images, nothing, problem, torch.full_like(group.rows, draw))
        pixels += (images.to(torch.float64) - removed).square().sum(1)
    regions = group.regions.flatten(1).expand(len(images), -1)
    return pixels.new_zeros(len(images), group.count).scatter_add_(1, regions, pixels.flatten(1))


def _rounded(counts: Tensor) -> Tensor:
    """Up to four values between powers of two; above all others where nothing changes, so that planning with black images overestimates."""
    step = torch.exp2((torch.log2((counts - 1).clamp(min=1).to(torch.float64)).floor() - 2).clamp(min=0)).to(torch.int64)
    up = torch.where(counts > 16, -(-counts // step) * step, counts)
    return torch.where(counts > 0, up, torch.iinfo(torch.int64).max)


def _even(change: Tensor) -> Tensor:
    """(n,), int64: 1 where the mean square of what changes is less than 1.3 times its squared mean (4 / 3 if it falls linearly to 0)."""
    mean_square = change.square().sum(1) * (change > 0).sum(1)
    return (mean_square <= 1.3 * change.sum(1).square()).to(torch.int64)


def _without_unchanged(values: Tensor, changed: Tensor | None) -> Tensor:
    """Shapley values (n, T, M) with exactly 0 where nothing changes; what was there is shared among the others."""
    if changed is None:
        return values
    kept = changed[:, None].to(values.dtype)
    lost = (values * (1 - kept)).sum(2, keepdim=True)
    return (values + lost / kept.sum(2, keepdim=True).clamp(min=1)) * kept
