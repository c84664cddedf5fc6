"""Perturbations I of an image x, of which infidelity asks how well attributions predict f(x) - f(x - I)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.component import Component, Fraction, PositiveFloat, PositiveInt
from xaibench.perturb import Read
from xaibench.problem import Attributions, Passes, Problem
from xaibench.removal import Constant, Removal
from xaibench.seeding import Rng

BLOCK_VALUES = 2**22
"""How many numbers of perturbations are held at once. It does not depend on a problem's chunk: neither do the draws."""


@dataclass(frozen=True)
class Block:
    """Some of the perturbations.

    Attributes
    ----------
    count
        How many.
    outputs
        For rows (b,) of the problem's images, what is read of the perturbed images: (b, T, count).
    products
        For the same rows the products of perturbations and attributions: (b, T, count), float64.
    """

    count: int
    outputs: Callable[[Tensor], Tensor]
    products: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Perturbation(Component):
    """A distribution of perturbations I."""

    def unsupported(self, problem: Problem) -> str | None:
        """Why these images cannot be perturbed so, or None."""
        return None

    @abstractmethod
    def passes(self, problem: Problem) -> Passes:
        """The forward passes that all blocks take."""

    @abstractmethod
    def blocks(self, problem: Problem, attributions: Attributions, output: Read, rng: Rng) -> Iterator[Block]:
        """All perturbations, in blocks of bounded memory; each counts equally in the expectation."""


@dataclass(frozen=True)
class GaussianNoise(Perturbation):
    """I is normal noise of mean 0, independent over channels and pixels, the same for all images; x - I may leave [0, 1].

    Parameters
    ----------
    deviation
        Standard deviation.
    samples
        Noise images; the authors take 10,000.
    """

    deviation: PositiveFloat = 0.2
    samples: PositiveInt = 1000

    def passes(self, problem: Problem) -> Passes:
        """See `Perturbation`."""
        return Passes(len(problem.images) * self.samples)

    def blocks(self, problem: Problem, attributions: Attributions, output: Read, rng: Rng) -> Iterator[Block]:
        """See `Perturbation`."""
        for noise in _normal(problem, self.samples, rng):
            yield self._block(problem, attributions, output, noise.mul_(self.deviation))

    def _block(self, problem: Problem, attributions: Attributions, output: Read, noise: Tensor) -> Block:
        across = noise.flatten(1).to(torch.float64).T

        def alter(row: Tensor, sample: Tensor) -> Tensor:
            return problem.images.index_select(0, row).sub_(noise.index_select(0, sample))

        return Block(
            len(noise),
            lambda rows: perturb.values(problem, len(noise), alter, output, rows=rows),
            lambda rows: _per_channel(problem, attributions, rows) @ across,
        )


@dataclass(frozen=True)
class NoisyBaseline(Perturbation):
    """I is the image less a noisy baseline: x - I is `value` plus normal noise, clipped to [0, 1], and so the same for all images.

    The classifier sees each noisy baseline once, whatever the number of images.

    Parameters
    ----------
    value
        Of the baseline, in every pixel and channel.
    deviation
        Standard deviation of the noise.
    samples
        Noisy baselines.
    """

    value: Fraction = 0.0
    deviation: PositiveFloat = 0.2
    samples: PositiveInt = 10000

    def passes(self, problem: Problem) -> Passes:
        """See `Perturbation`."""
        return Passes(self.samples)

    def blocks(self, problem: Problem, attributions: Attributions, output: Read, rng: Rng) -> Iterator[Block]:
        """See `Perturbation`."""
        for noise in _normal(problem, self.samples, rng):
            yield self._block(problem, attributions, output, noise.mul_(self.deviation).add_(self.value).clamp_(0, 1))

    def _block(self, problem: Problem, attributions: Attributions, output: Read, noisy: Tensor) -> Block:
        logits, across = perturb.logits(problem, len(noisy), noisy.__getitem__), noisy.flatten(1).to(torch.float64).T
        found = perturb.read(logits, torch.arange(logits.shape[1], device=noisy.device).expand(logits.shape), output).T

        def products(rows: Tensor) -> Tensor:
            maps = _per_channel(problem, attributions, rows)
            return maps @ problem.images[rows].flatten(1).to(torch.float64)[..., None] - maps @ across

        return Block(len(noisy), lambda rows: found[problem.targets[rows]], products)


@dataclass(frozen=True)
class SquareRemoval(Perturbation):
    """I removes a square: all squares with these sides that lie within the image, one at a time, whether or not they divide it.

    Parameters
    ----------
    removal
        What a removed pixel becomes, x0; each of its draws is a perturbation of its own.
    smallest, largest
        Sides in pixels; sides longer than the image are left out.
    samples
        So many of the squares, drawn with replacement and the same for all images; null takes each of them once.
    product
        "indicator": attributions say what pixels contribute, and the product is their sum over the square's pixels and channels, as in the
        authors' experiments. "change": they say what a unit of input contributes, and the product is that with x - x0 in the square.
    """

    removal: Removal = Constant(0.0)
    smallest: PositiveInt = 1
    largest: PositiveInt = 10
    samples: PositiveInt | None = None
    product: Literal["indicator", "change"] = "indicator"

    def unsupported(self, problem: Problem) -> str | None:
        """See `Perturbation`."""
        if not min(self.largest, *problem.images.shape[-2:]) >= self.smallest:
            return f"{self} has no square that fits into images of {' x '.join(map(str, problem.images.shape[-2:]))} pixels"
        if self.product == "change" and not self.removal.local:
            return f"{self.removal} makes of a pixel what depends on the whole square, and the product needs x - x0"
        return self.removal.unsupported(problem)

    def passes(self, problem: Problem) -> Passes:
        """See `Perturbation`."""
        squares = self.samples or len(self._squares(problem))
        return Passes(len(problem.images) * squares * self.removal.draws(problem))

    def blocks(self, problem: Problem, attributions: Attributions, output: Read, rng: Rng) -> Iterator[Block]:
        """See `Perturbation`."""
        squares = self._squares(problem)
        if self.samples:
            squares = squares[torch.randint(len(squares), (self.samples,), generator=rng.shared())]
        height, width = problem.images.shape[-2:]
        row, column = torch.arange(height), torch.arange(width)
        for part in squares.split(max(1, BLOCK_VALUES // (height * width))):
            top, left, side = part.T[..., None]
            rows, columns = (row >= top) & (row < top + side), (column >= left) & (column < left + side)
            removed = (rows[:, :, None] & columns[:, None, :]).to(problem.images.device)
            yield self._block(problem, attributions, output, removed, rng)

    def _squares(self, problem: Problem) -> Tensor:
        """(N, 3): top, left and side of all squares."""
        height, width = problem.images.shape[-2:]
        sides = range(self.smallest, min(self.largest, height, width) + 1)
        lines = [(torch.arange(height - side + 1), torch.arange(width - side + 1), torch.tensor([side])) for side in sides]
        return torch.cat([torch.cartesian_prod(*each) for each in lines])

    def _block(self, problem: Problem, attributions: Attributions, output: Read, removed: Tensor, rng: Rng) -> Block:
        draws, remove, kept = self.removal.draws(problem), self.removal.prepared(problem, rng), ~removed[:, None]
        across = removed.flatten(1).to(torch.float64).T

        def alter(row: Tensor, number: Tensor) -> Tensor:
            return remove(row, kept.index_select(0, number // draws), number % draws)

        def products(rows: Tensor) -> Tensor:
            if self.product == "indicator":
                maps = attributions.values[rows].to(torch.float64).sum(dim=2).flatten(2)
                return (maps @ across).repeat_interleave(draws, dim=2)
            row, draw = rows.repeat_interleave(draws), torch.arange(draws, device=rows.device).repeat(len(rows))
            nothing = torch.zeros_like(kept[:1]).expand(len(row), -1, -1, -1)
            change = (problem.images[row] - remove(row, nothing, draw)).unflatten(0, (len(rows), draws)).to(torch.float64)
            maps = (attributions.values[rows][:, :, None] * change[:, None]).sum(dim=3).flatten(3)  # (b, T, D, H W)
            return (maps @ across).transpose(2, 3).flatten(2)

        return Block(len(removed) * draws, lambda rows: perturb.values(problem, len(removed) * draws, alter, output, rows=rows), products)


def _normal(problem: Problem, samples: int, rng: Rng) -> Iterator[Tensor]:
    """Blocks of standard normal images (n, C, H, W), `samples` in all."""
    shape, generator = problem.images.shape[1:], rng.shared()
    most = max(1, BLOCK_VALUES // shape.numel())
    for start in range(0, samples, most):
        yield torch.randn(min(most, samples - start), *shape, generator=generator).to(problem.images.device)


def _per_channel(problem: Problem, attributions: Attributions, rows: Tensor) -> Tensor:
    """(b, T, C H W), float64: one attribution for each channel; the only one of a pixel for all its channels."""
    channels = problem.images.shape[1]
    return attributions.values[rows].to(torch.float64).expand(-1, -1, channels, -1, -1).flatten(2)
