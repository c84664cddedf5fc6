"""Masks that are optimized, one for each (image, target), by gradient descent through the classifier."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaibench.problem import Output, Passes, Problem, select
from xaibench.removal import Removal, several_draws

VERSION = 1

MOMENTS = (0.9, 0.999)
"""Adam's, which are its usual ones."""

EPSILON = 1e-5
"""Adam's: gradients far below have no say, as rounding errors would otherwise decide the sign of whole steps."""

Render = Callable[[Tensor], Tensor]
"""Takes coarse masks (n, h, w) in [0, 1]; returns masks of the image's size (n, H, W) in [0, 1], where 1 keeps a pixel."""

Loss = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""Takes explained outputs (n,), coarse masks, masks, the variants (n,) they belong to, and the iteration's number; returns losses (n,)."""


def optimized(
    problem: Problem,
    removal: Removal,
    output: Output,
    start: Tensor,
    render: Render,
    loss: Loss,
    iterations: int,
    learning_rate: float,
) -> Tensor:
    """The masks after a fixed number of steps of Adam, each clipped to [0, 1]; masks do not know of each other.

    Where a network's gradient jumps, a difference in rounding, as between sizes of batches, may send a mask another way: most masks
    agree to 1e-6 whatever the batch, single ones to 1e-3 only.

    Parameters
    ----------
    problem
        Its (image, target) pairs times variants are optimized in chunks of `problem.chunk`.
    removal
        Pixels fade to what it gives when all pixels are removed at once.
    output
        What `loss` is told of the faded image.
    start
        (V, h, w): the first coarse mask of each of the V variants.
    render, loss
        See there. Losses of different masks are added up, so that none influences another.
    iterations, learning_rate
        Adam's. The rate falls linearly to 0, so that the last steps settle.

    Returns
    -------
    Tensor
        (B, T, V, H, W), in [0, 1].
    """
    batch, targets = problem.targets.shape
    variants = len(start)
    positions = torch.arange(batch * targets * variants, device=problem.images.device)
    start, classes = start.to(problem.images.device), problem.targets.flatten()
    found = []
    for chunk in positions.split(problem.chunk):
        pair, variant = chunk // variants, chunk % variants
        images = problem.images.index_select(0, pair // targets)
        removed = removal(images, torch.zeros_like(images[:, :1], dtype=torch.bool), problem)
        coarse = start[variant]
        first, second = torch.zeros_like(coarse), torch.zeros_like(coarse)
        for iteration in range(iterations):
            with torch.enable_grad():
                coarse.requires_grad_(True)
                masks = render(coarse)
                logits = problem.classifier(torch.lerp(removed, images, masks[:, None].expand_as(images)))
                explained = select(logits, classes[pair, None], output)[:, 0]
                (gradient,) = torch.autograd.grad(loss(explained, coarse, masks, variant, iteration).sum(), coarse)
            first.lerp_(gradient, 1 - MOMENTS[0])
            second.lerp_(gradient.square(), 1 - MOMENTS[1])
            direction, scale = (part / (1 - moment ** (iteration + 1)) for part, moment in zip((first, second), MOMENTS, strict=True))
            rate = learning_rate * (1 - iteration / iterations)
            coarse = (coarse.detach() - rate * direction / (scale.sqrt() + EPSILON)).clamp(0, 1)
        found.append(render(coarse))
    return torch.cat(found).unflatten(0, (batch, targets, variants))


def passes(problem: Problem, iterations: int, variants: int = 1) -> Passes:
    """The passes of `optimized`: in each iteration one forward and one backward for each (image, target) and variant."""
    count = problem.targets.numel() * variants * iterations
    return Passes(count, count)


def unsupported(problem: Problem, removal: Removal) -> str | None:
    """Why pixels cannot fade to what this removal gives, or None."""
    return several_draws(removal, problem)


def distances(problem: Problem, grid: int) -> tuple[Tensor, Tensor]:
    """(H, h) and (W, w): from the pixels' centers to the coarse cells' along each axis, in cells; h and w are `grid`, or fewer pixels."""
    found = []
    for pixels in problem.images.shape[-2:]:
        cells = min(grid, pixels)
        place = (torch.arange(pixels, device=problem.images.device) + 0.5) * (cells / pixels)
        found.append(place[:, None] - torch.arange(cells, device=problem.images.device) - 0.5)
    return found[0], found[1]
