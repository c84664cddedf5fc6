"""Training images as a helper sees them: altered with the help of the classifier that comes before."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from xaibench.cost import chunk_size
from xaibench.explaining import blocks
from xaibench.problem import Alteration, Arrays, Dataset, Problem, Split
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn, background

VERSION = 1

VALIDATION_SHARE = 4
"""Where an alteration takes only so many training images, it takes one validation image for so many of them."""


def altered(alteration: Alteration, arrays: Arrays, dataset: Dataset, network: nn.Module, seed: int) -> Arrays:
    """The arrays with altered training and validation images; test images stay.

    The classes that `network` predicts are the problem's targets. An image's index is its position in the training data, validation
    images after training images. The background is the default one, whatever is chosen for the test images.

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
        found = torch.empty_like(images)
        for block in blocks(problem):
            given = alteration(_placed(problem.take(block), device), rng).to(found.device)
            if given.shape != found[block].shape or not given.isfinite().all():
                shapes = f"{tuple(given.shape)}: expected {tuple(found[block].shape)}, finite"
                raise ValueError(f"images altered by {type(alteration).__name__}, of shape {shapes}")
            found[block] = given
        return Split(found, labels)

    count = alteration.images
    train = split(arrays.train, 0, count)
    validation = split(arrays.validation, len(arrays.train.labels), None if count is None else max(1, count // VALIDATION_SHARE))
    return Arrays(train, validation, arrays.test, arrays.test_masks)


def _predicted(network: nn.Module, images: Tensor, chunk: int, device: torch.device) -> Tensor:
    """(N, 1): the predicted classes."""
    with torch.inference_mode():
        found = [network(part.to(device)).argmax(1).cpu() for part in images.split(chunk)]
    return torch.cat(found)[:, None]


def _placed(problem: Problem, device: torch.device) -> Problem:
    """The problem on the classifier's device."""
    names = ("images", "targets", "labels", "index", "background")
    return dataclasses.replace(problem, **{name: getattr(problem, name).to(device) for name in names})
