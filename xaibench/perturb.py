"""The batched perturbation engine: everything that only sends altered images forward through the classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from xaibench.problem import Problem

VERSION = 1

Alter = Callable[[Tensor, Tensor], Tensor]
"""Takes rows of the problem's images (n,) and sample numbers (n,); returns altered images (n, C, H, W)."""

GROUP_VALUES = 2**22
"""How many outputs `combined` holds at once."""

Read = Literal["logit", "probability", "log_probability", "log_odds", "correct"]
"""What is read of an image's logits for a class: its logit, its probability, the logarithm of that, the logarithm of its odds
p / (1 - p), or whether it is the predicted class (the first of those with the largest logit), 1 or 0."""


def read(logits: Tensor, classes: Tensor, what: Read) -> Tensor:
    """(N, T): what is asked for of (N, K) logits for the (N, T) classes; NaN where a logit is."""
    if what == "probability":
        logits = torch.softmax(logits, dim=1)
    elif what == "log_probability":
        logits = torch.log_softmax(logits, dim=1)
    elif what == "correct":
        right = (logits.argmax(dim=1, keepdim=True) == classes).to(logits.dtype)
        return torch.where(logits.isnan().any(dim=1, keepdim=True), torch.nan, right)  # argmax would take a NaN for the largest
    found = logits.gather(1, classes)
    if what == "log_odds":
        others = logits[:, None].expand(-1, classes.shape[1], -1).scatter(2, classes[..., None], -torch.inf)
        return found - others.logsumexp(dim=2)
    return found


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


def values(problem: Problem, samples: int, alter: Alter, output: Read, draws: int = 1, rows: Tensor | None = None) -> Tensor:
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
            part.copy_(read(model(alter(row, sample)), problem.targets[row], output))
    outputs = found.unflatten(0, (-1, samples, draws))
    return outputs.mean(2).transpose(1, 2) if draws > 1 else outputs[:, :, 0].transpose(1, 2)


def combined(problem: Problem, samples: int, alter: Alter, weights: Tensor, output: Read, draws: int = 1) -> Tensor:
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
