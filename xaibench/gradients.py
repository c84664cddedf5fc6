"""The batched gradient engine: weighted sums of input gradients over samples of each image, in full chunks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaibench.problem import Output, Passes, Problem, select

VERSION = 1

Sampler = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | float]]


def summed_gradients(problem: Problem, samples: int, sampler: Sampler, output: Output) -> Tensor:
    """Sum over the samples of weight x gradient of the explained output.

    Parameters
    ----------
    problem
        Its (image, target) pairs times `samples` inputs go through the model in chunks of `problem.chunk`.
    samples
        Inputs per pair.
    sampler
        Takes rows of the problem's images (n,) and sample numbers (n,); returns inputs (n, C, H, W) and the weights
        of their gradients, a number or a tensor that broadcasts to the inputs.
    output
        What is differentiated.

    Returns
    -------
    Tensor
        (B, T, C, H, W).
    """
    model, images = problem.classifier, problem.images
    batch, targets = problem.targets.shape
    flat_targets = problem.targets.reshape(-1)
    total = torch.zeros(batch * targets, *images.shape[1:], device=images.device)
    positions = torch.arange(batch * targets * samples, device=images.device)
    for chunk in positions.split(problem.chunk):
        pair, sample = chunk // samples, chunk % samples
        inputs, weights = sampler(pair // targets, sample)
        inputs = inputs.detach().requires_grad_(True)
        with torch.enable_grad():
            explained = select(model(inputs), flat_targets[pair, None], output)
            (gradient,) = torch.autograd.grad(explained.sum(), inputs)
        total.index_add_(0, pair, gradient * weights)
    return total.reshape(batch, targets, *images.shape[1:])


def gradient(problem: Problem, output: Output) -> Tensor:
    """(B, T, C, H, W): the gradient of the explained output at the images."""
    return summed_gradients(problem, 1, lambda row, _: (problem.images[row], 1.0), output)


def gradient_passes(problem: Problem, samples: int) -> Passes:
    """The passes of `summed_gradients`."""
    return Passes(problem.targets.numel() * samples, problem.targets.numel() * samples)
