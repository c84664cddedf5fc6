"""What the three relative stabilities share: they differ in what the change of the explanation is divided by."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.component import PositiveFloat, PositiveInt
from xaibench.metrics.reexplanation import Copies
from xaibench.metrics.robustness import Robustness, largest, norm
from xaibench.perturb import Alter
from xaibench.problem import Explainer, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class RelativeStability(Robustness):
    """The largest relative change of the attributions, divided by a change of something else, over noisy copies of the predicted class.

    Copies whose predicted class (the first of those with the largest logit) differs from the image's do not count. Zeros below a fraction
    line become `eps`, so that relative changes are finite.

    Parameters
    ----------
    samples
        Noisy copies of each image; all its targets see the same ones.
    noise
        Standard deviation of their Gaussian noise, in units of intensity, drawn for each image independently. Copies are not clipped.
    p
        The norm.
    eps
        The least denominator, and what a zero becomes by which attributions, pixels or representations are divided.
    """

    samples: PositiveInt = 10
    noise: PositiveFloat = 0.05
    p: Literal[1, 2] = 2
    eps: PositiveFloat = 1e-6

    @property
    def copies(self) -> int:
        """Copies of each image."""
        return self.samples

    @abstractmethod
    def moved(self, images: Tensor, logits: Tensor, recorded: Tensor) -> Tensor:
        """(n, S, 1): how far the copies are from their image.

        Parameters
        ----------
        images, logits, recorded
            (n, 1 + S, ...): the image first, then its copies; `recorded` is what `recording` collects.
        """

    @contextlib.contextmanager
    def recording(self, problem: Problem) -> Iterator[list[Tensor]]:
        """A list that gets something for each chunk of images that goes through the model; nothing by default."""
        yield []

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """Those of the explainer on all copies, and one forward pass for each copy and each image: the predicted classes."""
        return super().passes(problem, explainer) + Passes(len(problem.images) * (self.samples + 1))

    def alter(self, problem: Problem, rng: Rng) -> Alter:
        """Adds Gaussian noise."""
        shape = problem.images.shape[1:]
        return lambda rows, samples: problem.images[rows] + self.noise * rng.each(problem.index[rows], samples).normal(*shape)

    def score(self, problem: Problem, copies: Copies) -> Tensor:
        """(n, T): the largest ratio over the copies that keep the predicted class."""
        images = torch.cat([problem.images[copies.rows][:, None], copies.images], dim=1)
        flat = images.flatten(0, 1)
        with self.recording(problem) as record:
            logits = perturb.logits(problem, len(flat), lambda rows: flat[rows]).unflatten(0, images.shape[:2])
        recorded = torch.cat(record).unflatten(0, images.shape[:2]) if record else images
        predicted = logits.argmax(2)
        change = norm(self.relative(copies.original, copies.values), self.p)
        ratios = change / self.moved(images, logits, recorded).clamp_min(self.eps)
        return largest(ratios, predicted[:, 1:] == predicted[:, :1])

    def relative(self, original: Tensor, altered: Tensor) -> Tensor:
        """The change as a fraction of the original, value by value."""
        return (altered - original) / original.masked_fill(original == 0, self.eps)
