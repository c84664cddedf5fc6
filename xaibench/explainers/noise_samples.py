"""What the explainers that average over noisy copies of an image share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.component import PositiveFloat, PositiveInt
from xaibench.explainers.gradient import Gradient
from xaibench.problem import Attributions, Explainer, Passes, Problem, Training
from xaibench.seeding import Rng

VERSION = 1


@dataclass(frozen=True)
class NoiseSamples(Explainer):
    """Explains noisy copies of each image with another explainer.

    What such an explainer claims holds with the gradient, its default, and with any `of` that claims the same.

    Parameters
    ----------
    of
        The explainer of the copies, of the gradient family. What it explains is this explainer's `output`, whatever its own says. If it
        draws at random, it does so independently for each copy.
    samples
        Noisy copies of each image; all targets of an image see the same ones.
    noise
        Standard deviation of the Gaussian noise, as a fraction of the image's own range (maximum minus minimum). Copies are not clipped.
    """

    of: Explainer = Gradient()
    samples: PositiveInt = 50
    noise: PositiveFloat = 0.15

    def needs(self, training: Training) -> Mapping[str, Training]:
        """What `of` needs."""
        return self.of.needs(training)

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: what `of` cannot explain."""
        return super().unsupported(problem) or self._inner.unsupported(problem)

    def passes(self, problem: Problem) -> Passes:
        """Those of `of` on all noisy copies, in calls of `problem.chunk` copies. They must depend on nothing but the copies' number."""
        rows = torch.arange(len(problem.images), device=problem.images.device).repeat_interleave(self.samples)
        calls, rest = divmod(len(rows), problem.chunk)
        sizes = (problem.chunk if calls else 0, rest)
        whole, last = (self._inner.passes(problem.take(rows[:size])) if size else Passes() for size in sizes)
        return Passes(calls * whole.forward, calls * whole.backward) + last

    @property
    def _inner(self) -> Explainer:
        return dataclasses.replace(self.of, output=self.output)

    def _explained(self, problem: Problem, rng: Rng) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows (n,) of the problem's images, and the explanations (n, T, C or 1, H, W) of their noisy copies, image by image."""
        images = problem.images
        deviation = self.noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
        problem = dataclasses.replace(problem, masks=None)
        inner = dataclasses.replace(rng, component=f"{rng.component}/of")
        for chunk in torch.arange(len(images) * self.samples, device=images.device).split(problem.chunk):
            row, sample = chunk // self.samples, chunk % self.samples
            copies = problem.take(row)
            normal = rng.each(copies.index, sample).normal(*images.shape[1:])
            noisy = torch.addcmul(copies.images, deviation[row], normal)
            # Each copy has an index, hence random draws, of its own.
            copies = dataclasses.replace(copies, images=noisy, index=copies.index * self.samples + sample)
            yield row, self._inner(copies, inner).values

    def _mean(self, problem: Problem, rng: Rng, power: int) -> Attributions:
        """The mean over the copies of the explanations, raised to a power."""
        total: Tensor | None = None
        for row, values in self._explained(problem, rng):
            if total is None:
                total = values.new_zeros(len(problem.images), *values.shape[1:])
            total.index_add_(0, row, values if power == 1 else values**power)
        if total is None:
            raise ValueError("Problem.images: expected at least one image")
        return Attributions(total.div_(self.samples))
