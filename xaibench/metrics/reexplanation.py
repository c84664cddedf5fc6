"""Explaining again: perturbed copies of each image, or the same images with another classifier, in bounded memory.

What metrics of robustness, randomization and the axioms share. A metric that explains S copies of each image writes::

    def passes(self, problem, explainer):
        return reexplanation.passes(problem, explainer, S)

    def __call__(self, problem, explanation, rng):
        def alter(rows, samples):                     # (n,) and (n,) to (n, C, H, W)
            return problem.images[rows] + ...         # rng.each(problem.index[rows], samples) draws for each copy

        def distance(copies):                         # of some of the images: (n, T)
            return ((copies.values - copies.original) ** 2).flatten(3).sum(3).amax(1)

        return Scores({"value": reexplanation.scores(problem, explanation, S, alter, distance)})

A copy keeps its image's index, targets and label: an explainer that draws at random draws the same for the copies as for the image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xaibench.explaining import BLOCK_BYTES, BLOCK_IMAGES, declared_passes
from xaibench.maps import check_shapes
from xaibench.perturb import Alter
from xaibench.problem import Attributions, Explainer, Passes, Problem


@dataclass(frozen=True)
class Copies:
    """S copies of each of n images, and their explanations.

    Attributes
    ----------
    rows
        (n,): which of the problem's images.
    images
        (n, S, C, H, W): the copies.
    values
        (n, S, T, C or 1, H, W): their attributions.
    original
        (n, 1, T, C or 1, H, W): the attributions of the images themselves.
    """

    rows: Tensor
    images: Tensor
    values: Tensor
    original: Tensor


def scores(problem: Problem, explanation: Attributions, samples: int, alter: Alter, score: Callable[[Copies], Tensor]) -> Tensor:
    """What `score` makes of the copies of all images: it gives (n, T) for n of them; see `copies`."""
    return torch.cat([score(found) for found in copies(problem, explanation, samples, alter)])


def copies(problem: Problem, explanation: Attributions, samples: int, alter: Alter) -> Iterator[Copies]:
    """Altered copies of the images and how they are explained, for some images at a time, in order.

    Parameters
    ----------
    problem, explanation
        The images, and their explanation, which can explain again.
    samples
        Copies of each image.
    alter
        Makes them: takes rows of the problem's images (n,) and sample numbers (n,), and gives images (n, C, H, W).

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or the explanation cannot explain again.
    """
    check_shapes(problem, explanation)
    for rows in _groups(problem, samples):
        row, sample = _pairs(rows, samples)
        images = alter(row, sample)
        values = explained(_repeated(problem, row, images), explanation)
        yield Copies(rows, images.unflatten(0, (-1, samples)), values.unflatten(0, (-1, samples)), explanation.values[rows][:, None])


def passes(problem: Problem, explainer: Explainer, samples: int) -> Passes:
    """The passes that `copies` will take. What depends on an image's content is taken from the image itself."""
    groups = (_pairs(rows, samples)[0] for rows in _groups(problem, samples))
    return sum((declared_passes(explainer, _repeated(problem, row, problem.images[row])) for row in groups), Passes())


def explained(problem: Problem, explanation: Attributions) -> Tensor:
    """(B, T, C or 1, H, W): the attributions of another problem, explained as `explanation` was.

    Raises
    ------
    ValueError
        If the explanation came from outside and cannot explain again.
    """
    if explanation.again is None:
        raise ValueError("Attributions.again=None: expected an explanation that can explain again; these maps came from outside")
    return explanation.again(problem).values


def with_model(problem: Problem, model: nn.Module) -> Problem:
    """The same images for another classifier, whose predictions are not known."""
    return dataclasses.replace(problem, model=model, probabilities=None)


def _repeated(problem: Problem, row: Tensor, images: Tensor) -> Problem:
    """One row of the new problem for each row asked for; its predictions and masks are not known."""
    return dataclasses.replace(dataclasses.replace(problem, probabilities=None, masks=None).take(row), images=images)


def _groups(problem: Problem, samples: int) -> Iterator[Tensor]:
    """Rows of images whose copies are explained together: about as many copies as `explaining.explained` takes at once."""
    one = problem.targets.shape[1] * problem.images[0].numel() * problem.images.element_size()
    size = max(1, min(BLOCK_IMAGES, BLOCK_BYTES // one) // samples)
    return iter(torch.arange(len(problem.images), device=problem.images.device).split(size))


def _pairs(rows: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Every (row, sample), image by image."""
    return rows.repeat_interleave(samples), torch.arange(samples, device=rows.device).repeat(len(rows))
