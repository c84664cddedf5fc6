"""The batched perturbation engine: everything that only sends altered images forward through the classifier."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench.problem import Attributions, Output, Passes, Problem, select
from xaibench.removal import Removal
from xaibench.seeding import Rng

VERSION = 1

Alter = Callable[[Tensor, Tensor], Tensor]
"""Takes rows of the problem's images (n,) and sample numbers (n,); returns altered images (n, C, H, W)."""

GROUP_VALUES = 2**22
"""How many outputs `combined` holds at once."""

Pooling = Literal["sum", "abs_sum", "max"]
"""How a pixel's channels become one number: their sum, the sum of their absolute values, or the largest."""

First = Literal["most", "least"]
"""Which end of a ranking goes first: the most relevant pixels (MoRF) or the least relevant (LeRF)."""


@dataclass(frozen=True)
class Ranking:
    """The order of the pixels for each (image, target).

    Attributes
    ----------
    rank
        (B, T, H, W), int32: 0 is the most relevant pixel, H W - 1 the least relevant.
    tied
        (B, T), share of pixels whose pooled attribution another pixel of the map has too; NaN where not `defined`.
    defined
        (B, T), bool: False where the map holds a NaN, which ranks nothing. `rank` is meaningless there, and `curves` gives NaN.
    """

    rank: Tensor
    tied: Tensor
    defined: Tensor


def logits(problem: Problem, count: int, make: Callable[[Tensor], Tensor]) -> Tensor:
    """(count, K) logits of inputs that `make` gives, chunk by chunk, from their positions 0 ... count - 1."""
    model, found = problem.classifier, problem.images.new_empty(0)
    with torch.inference_mode():
        for chunk in torch.arange(count, device=problem.images.device).split(problem.chunk):
            part = model(make(chunk))
            # Made once: small results kept between large temporaries would scatter over the heap and make it grow.
            found = found if len(found) else part.new_empty(count, *part.shape[1:])
            found[chunk] = part
    return found


def values(problem: Problem, samples: int, alter: Alter, output: Output, draws: int = 1, rows: Tensor | None = None) -> Tensor:
    """The explained outputs of altered images: images times samples, in full chunks; all targets share them.

    Parameters
    ----------
    problem
        Its images times `samples` times `draws` inputs go through the model in chunks of `problem.chunk`.
    samples
        Altered copies of each image.
    alter
        Makes them. With `draws` D, the sample number s D + d asks for draw d of sample s.
    output
        What is read.
    draws
        Copies of a sample, such as one for each background image, whose outputs are averaged.
    rows
        (B',) rows of the problem's images, where not all are asked for.

    Returns
    -------
    Tensor
        (B, T, samples).
    """
    model, copies, device = problem.classifier, samples * draws, problem.images.device
    rows = torch.arange(len(problem.images), device=device) if rows is None else rows
    # Made once, as in `logits`.
    found = problem.images.new_empty(len(rows) * copies, problem.targets.shape[1])
    with torch.inference_mode():
        for chunk, part in zip(torch.arange(len(found), device=device).split(problem.chunk), found.split(problem.chunk), strict=True):
            row, sample = rows[chunk // copies], chunk % copies
            part.copy_(select(model(alter(row, sample)), problem.targets[row], output))
    outputs = found.unflatten(0, (-1, samples, draws))
    return outputs.mean(2).transpose(1, 2) if draws > 1 else outputs[:, :, 0].transpose(1, 2)


def combined(problem: Problem, samples: int, alter: Alter, weights: Tensor, output: Output, draws: int = 1) -> Tensor:
    """Linear combinations of the outputs of altered images: the sum over samples of weight x output, in bounded memory.

    Occlusion, RISE, LIME and all estimators of Shapley values are of this form: a design (the samples) and a matrix.

    Parameters
    ----------
    problem, samples, alter, output, draws
        See `values`.
    weights
        (samples, P), shared by all images and targets; the sum is taken in float64.

    Returns
    -------
    Tensor
        (B, T, P), float64.
    """
    weights = weights.to(problem.images.device, torch.float64)
    size = max(1, GROUP_VALUES // (samples * draws * problem.targets.shape[1]))
    groups = torch.arange(len(problem.images), device=problem.images.device).split(size)
    return torch.cat([values(problem, samples, alter, output, draws, rows).to(torch.float64) @ weights for rows in groups])


def without_model(problem: Problem) -> str | None:
    """Why a metric that perturbs images cannot score this problem, or None."""
    return None if problem.model is not None else "needs a model, and only predictions are known"


def check_shapes(problem: Problem, attributions: Attributions) -> None:
    """Raise ValueError, naming both shapes, unless the attributions are (B, T, C or 1, H, W) for the problem's images and targets."""
    shape = tuple(attributions.values.shape)
    (batch, channels, *size), targets = problem.images.shape, problem.targets.shape[1]
    if shape not in [(batch, targets, depth, *size) for depth in (1, channels)]:
        expected = (batch, targets, channels, *size)
        raise ValueError(
            f"Attributions.values of shape {shape}: expected {expected}, or one channel of it, "
            f"for images of shape {tuple(problem.images.shape)} and {targets} targets each"
        )


def pool(problem: Problem, attributions: Attributions, pooling: Pooling) -> Tensor:
    """(B, T, H, W), float64: one attribution for each pixel. NaN in a channel gives NaN; -0 becomes 0.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.
    """
    check_shapes(problem, attributions)
    values = attributions.values.detach().to(torch.float64)
    if pooling == "max":
        return values.amax(dim=2) + 0.0
    channels = (values.abs() if pooling == "abs_sum" else values).unbind(dim=2)
    # added one by one: the order in which torch.sum adds depends on the layout, and ranks must not
    return functools.reduce(torch.add, channels) + 0.0


def ranking(problem: Problem, attributions: Attributions, rng: Rng, pooling: Pooling = "sum") -> Ranking:
    """The order of the pixels, from most to least relevant, for each (image, target).

    Ties are broken by a permutation that is drawn for each image from `rng.each(index)`, the same for all its targets.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.
    """
    maps = pool(problem, attributions, pooling)
    values = maps.flatten(2)
    defined = ~values.isnan().any(dim=2)
    shuffled = rng.each(problem.index).permutation(values.shape[2])[:, None].expand(values.shape)
    ordered, place = values.gather(2, shuffled).sort(dim=2, descending=True, stable=True)
    order = shuffled.gather(2, place)
    numbers = torch.arange(values.shape[2], device=values.device, dtype=torch.int32).expand(values.shape)
    rank = torch.empty_like(numbers, memory_format=torch.contiguous_format).scatter_(2, order, numbers)
    equal = torch.nn.functional.pad(ordered[..., 1:] == ordered[..., :-1], (1, 1))
    tied = (equal[..., 1:] | equal[..., :-1]).to(torch.float32).mean(dim=2)
    return Ranking(rank.reshape(maps.shape), torch.where(defined, tied, torch.nan), defined)


def counts(problem: Problem, steps: int) -> Tensor:
    """(S + 1,), int64: pixels removed at each step s, s H W / S rounded (halves to even); S = `steps`, at most the pixels H W."""
    height, width = problem.images.shape[-2:]
    pixels = height * width
    steps = min(steps, pixels)
    return (torch.arange(steps + 1, device=problem.images.device, dtype=torch.float64) * pixels / steps).round().to(torch.int64)


def fractions(problem: Problem, steps: int) -> Tensor:
    """(S + 1,), float64: share of pixels removed at each step, from 0 to 1 (`counts` / pixels)."""
    removed = counts(problem, steps)
    return removed / removed[-1].to(torch.float64)


def curves(problem: Problem, ranked: Ranking, removal: Removal, steps: int, first: First = "most") -> Tensor:
    """Logits while pixels are removed in the order of a ranking, from none to all of them.

    Parameters
    ----------
    problem
        Its (image, target, step) inputs go through the model in chunks of `problem.chunk`.
    ranked
        One ranking serves all curves.
    removal
        What a removed pixel becomes.
    steps
        Equal fractions in which pixels are removed (`counts`); at most one for each pixel.
    first
        Whether the `most` or the `least` relevant pixels go first.

    Returns
    -------
    Tensor
        (B, T, S + 1, K). NaN where the ranking is not defined.
    """
    removed = counts(problem, steps)
    batch, targets, height, width = ranked.rank.shape
    ranks = ranked.rank.reshape(-1, 1, height, width)

    def make(positions: Tensor) -> Tensor:
        pair, step = positions // len(removed), positions % len(removed)
        number = removed[step].reshape(-1, 1, 1, 1)
        kept = ranks[pair] >= number if first == "most" else ranks[pair] < height * width - number
        return removal(problem.images[pair // targets], kept, problem)

    flat = logits(problem, batch * targets * len(removed), make)
    found = flat.reshape(batch, targets, len(removed), -1)
    return torch.where(ranked.defined[..., None, None], found, torch.nan)


def curve_passes(problem: Problem, steps: int) -> Passes:
    """The passes of one call of `curves`."""
    return Passes(forward=problem.targets.numel() * len(counts(problem, steps)))


def outputs(logits: Tensor, classes: Tensor, output: Output) -> Tensor:
    """(B, T, S + 1): the output of the (B, T) classes along curves of logits (B, T, S + 1, K)."""
    chosen = classes[..., None].expand(logits.shape[:-1]).reshape(-1, 1)
    return select(logits.flatten(0, 2), chosen, output).reshape(logits.shape[:-1])


def area(curve: Tensor, axis: Tensor) -> Tensor:
    """Area under curves (..., S + 1) over `axis` (S + 1,), by the trapezoidal rule; NaN where a point is."""
    return torch.trapezoid(curve.to(torch.float64), axis).to(curve.dtype)
