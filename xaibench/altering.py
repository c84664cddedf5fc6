"""Training images as a helper sees them: altered with the help of the classifier that comes before."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from xaibench.cost import chunk_size
from xaibench.explaining import blocks, explained
from xaibench.problem import Alteration, Arrays, Attributions, Dataset, Explainer, Problem, Split
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn, background

VERSION = 1

VALIDATION_SHARE = 4
"""Where an alteration takes only so many training images, it takes one validation image for so many of them."""


_explanations: dict[tuple[Explainer, str, int, int], Attributions] = {}
"""The last explanations of training and validation images: one explainer's serve many alterations, one after the other."""


def altered(alteration: Alteration, arrays: Arrays, dataset: Dataset, network: nn.Module, seed: int, origin: str) -> Arrays:
    """The arrays with altered training and validation images; test images stay.

    The classes that `network` predicts are the problem's targets. An image's index is its position in the training data, validation
    images after training images. The background is the default one, whatever is chosen for the test images. `origin` is the network's key.

    Raises
    ------
    ValueError
        If the alteration gives images of another shape, or values that are not finite.
    """
    absent = background(arrays, ExplainOn(), dataset.subset_seed)
    device = next(network.parameters()).device
    rng, chunk = Rng(seed, 0, type(alteration).__name__), chunk_size(network, dataset.shape, device)

    def split(part: Split, start: int, most: int | None) -> Split:
        rows = torch.randperm(len(part.labels), generator=torch.Generator().manual_seed(dataset.subset_seed))[:most].sort().values
        images, labels, index = part.images[rows], part.labels[rows], rows + start
        targets = _predicted(network, images, chunk, device)
        problem = Problem(network, images, targets, labels, index, absent, chunk=chunk)
        found, explainer = torch.empty_like(images), alteration.looks_at()
        explanation = None if explainer is None else _explained(explainer, _placed(problem, device), seed, (origin, start, len(rows)))
        for block in blocks(problem):
            maps = None if explanation is None else explanation.take(block)
            given = alteration(_placed(problem.take(block), device), maps, rng).to(found.device)
            if given.shape != found[block].shape or not given.isfinite().all():
                shapes = f"{tuple(given.shape)}: expected {tuple(found[block].shape)}, finite"
                raise ValueError(f"images altered by {type(alteration).__name__}, of shape {shapes}")
            found[block] = given
        return Split(found, labels)

    count = alteration.images
    train = split(arrays.train, 0, count)
    validation = split(arrays.validation, len(arrays.train.labels), None if count is None else max(1, count // VALIDATION_SHARE))
    return Arrays(train, validation, arrays.test, arrays.test_masks)


def _explained(explainer: Explainer, problem: Problem, seed: int, which: tuple[str, int, int]) -> Attributions:
    """The explanations of these images, kept until another explainer's are asked for."""
    key = (explainer, *which)
    if key not in _explanations:
        for other in [other for other in _explanations if other[:2] != key[:2]]:
            del _explanations[other]
        _explanations[key] = explained(explainer, problem, Rng(seed, 0, type(explainer).__name__))
    return _explanations[key]


def _predicted(network: nn.Module, images: Tensor, chunk: int, device: torch.device) -> Tensor:
    """(N, 1): the predicted classes."""
    with torch.inference_mode():
        found = [network(part.to(device)).argmax(1).cpu() for part in images.split(chunk)]
    return torch.cat(found)[:, None]


def _placed(problem: Problem, device: torch.device) -> Problem:
    """The problem on the classifier's device."""
    names = ("images", "targets", "labels", "index", "background")
    return dataclasses.replace(problem, **{name: getattr(problem, name).to(device) for name in names})
