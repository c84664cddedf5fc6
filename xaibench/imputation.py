"""Fills removed pixels from the kept ones: ROAD's linear imputation, by a batched matrix-free solver, and the pull-push pyramid.

Inside, images lie as (C, n, H, W), channels last: at each pixel the n images are neighbors in memory, so that all work is on long
contiguous runs, whatever the width of an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

VERSION = 1

PART_VALUES = {"cpu": 2**17}
"""How many values of images are filled at once, by device type; on a CPU this is what its caches hold."""

PART_VALUES_ELSEWHERE = 2**25

PART_IMAGES = 8
"""How many images are filled at once at least: fewer would make the contiguous runs too short."""

DRIFT = 0.9
"""Share of the tolerance at which the solver stops; the rest is for rounding, which sets the residual it carries apart from the true."""


@dataclass(frozen=True)
class Solution:
    """What `solve_linear` found, and how; nothing of it was moved to the host.

    Attributes
    ----------
    images
        (n, C, H, W), the images with their removed pixels filled.
    iterations
        (n,), int64: iterations that the image took (its slowest channel); 0 where nothing had to be solved.
    residual
        (n,), the relative residual (that of the image's worst channel) after them, at most the tolerance.
    """

    images: Tensor
    iterations: Tensor
    residual: Tensor


class _Grid(NamedTuple):
    """One grid of the multigrid hierarchy; its equations are `center` x - `_spread`(x) = right-hand side."""

    removed: Tensor | None
    center: Tensor
    inverse: Tensor


def linear_imputation(images: Tensor, kept: Tensor, fallback: Tensor, tolerance: float = 1e-4, limit: int = 100) -> Tensor:
    """(n, C, H, W): the images with each removed pixel at the weighted mean of its neighbors; see `solve_linear`."""
    return solve_linear(images, kept, fallback, tolerance, limit).images


@torch.no_grad()
def solve_linear(images: Tensor, kept: Tensor, fallback: Tensor, tolerance: float = 1e-4, limit: int = 100) -> Solution:
    """Each removed pixel becomes the weighted mean of its neighbors, jointly over all removed pixels.

    A direct neighbor has weight 1/6, a diagonal one 1/12; at the border the weights of those that exist are scaled to sum to 1. ROAD's
    noisy linear imputation is this plus independent normal noise on each removed pixel, which the caller adds: without it the
    filled pixels would tell the classifier where something was removed.

    Each image and channel is a sparse system, symmetric and diagonally dominant. All are solved together by conjugate gradients,
    started at the constant that fits best and preconditioned by one multigrid V-cycle. The number of iterations hardly depends on
    size or mask (2 to 10 in practice). A system that has converged stands still from then on, so that no image depends on its batch.

    Parameters
    ----------
    images
        (n, C, H, W), finite floats; what removed pixels hold does not matter.
    kept
        (n, 1, H, W), bool: True where the pixel stays, in all channels.
    fallback
        (C, H, W): what an image of which nothing is kept becomes.
    tolerance
        Bound of the relative residual, the 2-norm over the removed pixels of (weighted mean of the neighbors - value), divided by the
        same for images whose removed pixels are 0 (the norm of the system's right-hand side); it holds for each image and channel.
    limit
        Iterations after which to give up.

    Returns
    -------
    Solution
        Kept pixels have exactly their old values.

    Raises
    ------
    RuntimeError
        If a system has not converged after `limit` iterations.

    References
    ----------
    Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022 (arXiv:2202.00449), noisy linear
    imputation. Differs: the noise is left to the caller; an image of which nothing is kept, whose system is singular, has a defined
    outcome.
    """
    filled, iterations, residuals = torch.empty_like(images, memory_format=torch.contiguous_format), [], []
    for values, mask, found in _parts(images, kept, filled):
        steps, residual = _solve(values, mask, tolerance, limit)
        _finish(values, mask, fallback, found)
        iterations.append(steps.amax(dim=0).flatten())
        residuals.append(residual.amax(dim=0).flatten())
    return Solution(filled, torch.cat(iterations), torch.cat(residuals))


@torch.no_grad()
def pull_push(images: Tensor, kept: Tensor, fallback: Tensor) -> Tensor:
    """(n, C, H, W): the images with each removed pixel interpolated from means of kept ones, over the smallest area that has any.

    Pull: each cell of a coarser grid takes the mean of those of its 2 x 2 cells that have a value, down to one cell. Push: from there
    back to the pixels, a cell without a value takes it from the coarser grid, by bilinear interpolation. One pass, closed form; filled
    values lie between the smallest and the largest kept value.

    Parameters
    ----------
    images, kept, fallback
        See `solve_linear`.

    Returns
    -------
    Tensor
        Kept pixels have exactly their old values.

    References
    ----------
    Gortler et al., The Lumigraph, SIGGRAPH 1996, the pull and push of its rebinning. Differs: in the pull, cells of 2 x 2 instead
    of overlapping B-splines. Weights are saturated at 1 as there, so that, as they begin at 0 or 1, they stay 0 or 1.
    """
    filled = torch.empty_like(images, memory_format=torch.contiguous_format)
    for values, mask, found in _parts(images, kept, filled):
        pyramid = [(values, mask)]
        while max(pyramid[-1][0].shape[2:]) > 1:
            finer, weights = pyramid[-1]
            total = _quarter(weights)
            pyramid.append((_quarter(finer).div_(total.clamp_min(1)), total.clamp_max_(1)))
        pushed = pyramid.pop()[0]
        for finer, weights in reversed(pyramid):
            pushed = finer.addcmul_(1 - weights, _enlarged(pushed, finer))
        _finish(values, mask, fallback, found)
    return filled


def _parts(images: Tensor, kept: Tensor, filled: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Parts of the images, removed pixels at 0, their masks (1 = kept), both laid out as the module says, and of `filled`."""
    most = PART_VALUES.get(images.device.type, PART_VALUES_ELSEWHERE)
    size = max(PART_IMAGES, most // images[0].numel())
    for image, mask, found in zip(images.split(size), kept.split(size), filled.split(size), strict=True):
        # read as bytes, bools turn into floats several times faster
        weights = mask.contiguous().view(torch.uint8).to(images.dtype).transpose(0, 1).contiguous(memory_format=torch.channels_last)
        yield image.transpose(0, 1).contiguous(memory_format=torch.channels_last) * weights, weights, found


def _finish(values: Tensor, kept: Tensor, fallback: Tensor, found: Tensor) -> None:
    """Put the images into `found`, the fallback in place of those (still 0) of which nothing is kept."""
    nothing = (kept.sum(dim=(2, 3), keepdim=True) == 0).to(values.dtype)
    found.copy_(values.addcmul_(nothing, fallback[:, None].to(values)).transpose(0, 1))


def _solve(values: Tensor, kept: Tensor, tolerance: float, limit: int) -> tuple[Tensor, Tensor]:
    """Fill the removed pixels of `values` (0 before), in place; iterations and relative residual, (C, n, 1, 1) each."""
    grids = _grids(kept)
    center, inverse = grids[0].center, grids[0].inverse
    removed = 1 - kept
    right, edges = _spread(values).mul_(removed), _spread(kept).mul_(removed)
    scale = _square(inverse * right)
    # With the sum of the residual at 0 a constant image is exact, and starts from 0 where the neighbors of removed pixels are all 0.
    mean = right.sum(dim=(2, 3), keepdim=True) / edges.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    values.addcmul_(removed, mean)
    residual = right.addcmul_(edges, mean, value=-1)

    direction, old, every = torch.zeros_like(values), torch.ones_like(mean), 1 if values.is_cpu else 4
    iterations = torch.zeros_like(mean, dtype=torch.int64)
    for step in range(limit + 1):
        error = inverse * residual
        norm = _square(error)
        active = norm > scale * (DRIFT * tolerance) ** 2
        # on an accelerator each look makes the host wait; those that have converged stand still meanwhile
        if step % every == 0 or step == limit:
            if not active.any():
                break
            if step == limit:
                raise RuntimeError(f"{int(active.sum())} linear imputations: residual above {tolerance} after {limit} iterations")
        corrected = _cycle(grids, residual, error)
        new = _dot(residual, corrected)
        direction.mul_(torch.where(active, new / old, 0.0)).add_(corrected)
        change = _spread(direction).addcmul_(center, direction, value=-1)
        length = torch.where(active, -new / _dot(direction, change), 0.0)
        values.addcmul_(length, direction)
        residual.addcmul_(length, change)
        iterations, old = iterations + active, new
    return iterations, (norm / torch.where(scale > 0, scale, 1.0)).sqrt()


def _grids(kept: Tensor) -> list[_Grid]:
    """The hierarchy, from the pixels down to one cell.

    On the coarser grids all cells are unknown. Kept pixels, where a correction must be 0, act there as a term on the diagonal: the 12
    that the weights of a pixel sum to, added up over the cell (Galerkin's rule for corrections constant in a cell).
    """
    border = _spread(torch.ones_like(kept[:, :1]))
    removed = 1 - kept
    grids = [_Grid(removed, border, removed / (border - 4).clamp_min(1))]
    held = 12 * kept
    while max(held.shape[2:]) > 1:
        held = _quarter(held)
        center = _spread(torch.ones_like(held[:, :1])) + held
        grids.append(_Grid(None, center, 1 / (center - 4).clamp_min(1)))
    return grids


def _cycle(grids: list[_Grid], right: Tensor, error: Tensor) -> Tensor:
    """One V-cycle: smooth (`error`, the result of a first Jacobi step, comes in), correct from the coarser grid, smooth again.

    Undamped Jacobi steps suffice: with these weights they reduce all that oscillates within two pixels to a third or less.
    """
    (removed, center, inverse), *coarser = grids
    if not coarser:
        return error
    rest = _spread(error).add_(right).addcmul_(center, error, value=-1)
    # the finest grid keeps its kept pixels at 0
    below = _quarter(rest if removed is None else rest.mul_(removed))
    correction = _enlarged(_cycle(coarser, below, coarser[0].inverse * below), error)
    error = error.add_(correction) if removed is None else error.addcmul_(removed, correction)
    return error.addcmul_(inverse, _spread(error).add_(right).addcmul_(center, error, value=-1))


def _spread(values: Tensor) -> Tensor:
    """12 times the sum of the neighbors by their weights, plus 4 times the value itself: 1 2 1 along the rows and the columns."""
    once = functional.avg_pool2d(values, 2, stride=1, padding=1, divisor_override=1)
    return functional.avg_pool2d(once, 2, stride=1, divisor_override=1)


def _quarter(values: Tensor) -> Tensor:
    """(..., ceil(H / 2), ceil(W / 2)): sums over cells of 2 x 2."""
    return functional.avg_pool2d(values, 2, ceil_mode=True, divisor_override=1)


def _enlarged(values: Tensor, like: Tensor) -> Tensor:
    """A grid of half the size, interpolated to the size of `like`."""
    height, width = like.shape[2:]
    return functional.interpolate(values, scale_factor=2.0, mode="bilinear", align_corners=False)[:, :, :height, :width]


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """(C, n, 1, 1): the inner product for each channel and image."""
    return (left * right).sum(dim=(2, 3), keepdim=True)


def _square(values: Tensor) -> Tensor:
    """(C, n, 1, 1): the squared 2-norm for each channel and image."""
    return _dot(values, values)
