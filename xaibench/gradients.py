"""The batched gradient engine: weighted sums of input gradients over samples of each image, in full chunks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaibench.problem import Output, Passes, Problem, select

VERSION = 2

Sampler = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | float]]


def summed_gradients(problem: Problem, samples: int, sampler: Sampler, output: Output) -> Tensor:
    """Sum over the samples of weight x gradient of the explained output.

    Parameters
    ----------
    problem
        Its images times `samples` inputs go through the model in chunks of `problem.chunk`: forward once, and back once for each target.
    samples
        Inputs per image; all its targets share them.
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
    totals = [torch.zeros_like(images, memory_format=torch.contiguous_format) for _ in range(targets)]
    positions = torch.arange(batch * samples, device=images.device)
    for chunk in positions.split(problem.chunk):
        row, sample = chunk // samples, chunk % samples
        inputs, weights = sampler(row, sample)
        inputs = inputs.detach().requires_grad_(True)
        with torch.enable_grad():
            explained = select(model(inputs), problem.targets[row], output)
            for target, total in enumerate(totals):
                (gradient,) = torch.autograd.grad(explained[:, target].sum(), inputs, retain_graph=target + 1 < targets)
                total.index_add_(0, row, gradient * weights)
    return torch.stack(totals, dim=1)


def gradient(problem: Problem, output: Output) -> Tensor:
    """(B, T, C, H, W): the gradient of the explained output at the images."""
    return summed_gradients(problem, 1, lambda row, _: (problem.images[row], 1.0), output)


def gradient_passes(problem: Problem, samples: int) -> Passes:
    """The passes of `summed_gradients`: one forward for each image and sample, one backward for each of its targets."""
    return Passes(len(problem.images) * samples, problem.targets.numel() * samples)
