"""Calling an explainer on any number of images in bounded memory, and what is noted beside its maps."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xaibench.problem import Attributions, Explainer, Passes, Problem
from xaibench.seeding import Rng

VERSION = 1

BLOCK_IMAGES, BLOCK_BYTES = 512, 64 * 2**20
"""Images that are explained at once: at most so many, and at most as many as have attributions of this size."""

FLAGS = ("", "constant", "all zero", "not finite", "without a counterfactual", "not asked for")
"""What is wrong with a map, or with a pair that a counterfactual is looked for, by the number that is stored."""

PAIR_FLAGS = FLAGS[4:]
"""Those of pairs."""

AXIOMS = {
    "completeness": "the values sum to the change of the output from the baseline (or background) to the image",
    "dummy": "a feature on which the output does not depend gets 0",
    "sensitivity": "where image and baseline differ in one feature and the outputs differ, it does not get 0",
    "implementation invariance": "classifiers that are the same function get the same explanation",
    "linearity": "a weighted sum of classifiers' logits gets the weighted sum of their explanations",
    "symmetry": "features that the classifier treats alike, with equal values, get equal relevance",
}
"""What explainers may claim. Features are pixels, or superpixels where a method works on these."""


def explained(explainer: Explainer, problem: Problem, rng: Rng) -> Attributions:
    """The explanation of all images, block by block: an image's explanation does not depend on the others."""
    found: Attributions | None = None
    for rows in blocks(problem):
        part = explainer(problem.take(rows), rng)
        if found is None:
            batch = len(problem.images)
            total = None if part.total is None else part.total.new_empty(batch, *part.total.shape[1:])
            found = Attributions(part.values.new_empty(batch, *part.values.shape[1:]), total)
        found.values[rows] = part.values
        if found.total is not None and part.total is not None:
            found.total[rows] = part.total
    if found is None:
        raise ValueError("Problem.images: expected at least one image")
    return found


def declared_passes(explainer: Explainer, problem: Problem) -> Passes:
    """The passes that `explained` will take."""
    return sum((explainer.passes(problem.take(rows)) for rows in blocks(problem)), Passes())


def flags(explanation: Attributions) -> Tensor:
    """(B, T), uint8: positions in `FLAGS`. A map is constant if all its pixels have one value in each channel."""
    values = explanation.values.flatten(3)
    constant = (values == values[..., :1]).all(dim=(2, 3))
    flag = constant.to(torch.uint8)
    flag[(values == 0).all(dim=(2, 3))] = FLAGS.index("all zero")
    flag[~values.isfinite().all(dim=(2, 3))] = FLAGS.index("not finite")
    return flag


def completeness_error(explanation: Attributions) -> Tensor:
    """(B, T), float32: |sum of the values - total|, for an explanation that has a total."""
    if explanation.total is None:
        raise ValueError("Attributions.total=None: expected what the values sum to")
    return (explanation.values.detach().to(torch.float64).sum(dim=(2, 3, 4)) - explanation.total).abs().to(torch.float32)


def blocks(problem: Problem) -> Iterator[slice]:
    """Rows of the images that are explained, or scored, at once."""
    one = problem.targets.shape[1] * problem.images.shape[1:].numel() * problem.images.element_size()
    size = max(1, min(BLOCK_IMAGES, BLOCK_BYTES // one))
    return (slice(start, start + size) for start in range(0, len(problem.images), size))
