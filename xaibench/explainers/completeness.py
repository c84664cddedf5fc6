"""What the attributions of a complete method sum to: the explained output at the image minus that at the references."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.problem import Output, Passes, Problem, select


def output_difference(problem: Problem, references: Tensor, output: Output) -> Tensor:
    """(B, T): the explained output at each image minus its mean over the reference images (M, C, H, W)."""
    inputs = torch.cat([problem.images, references])
    logits = perturb.logits(problem, len(inputs), lambda position: inputs[position])
    batch = len(problem.images)
    classes = torch.arange(logits.shape[1], device=logits.device).expand(len(references), -1)
    expected = select(logits[batch:], classes, output).mean(0)
    return select(logits[:batch], problem.targets, output) - expected[problem.targets]


def difference_passes(problem: Problem, references: int) -> Passes:
    """The passes of `output_difference`."""
    return Passes(forward=len(problem.images) + references)
