"""What the attributions of a complete method sum to: the explained output at the image minus that at the references."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.baselines import Baseline
from xaibench.problem import Output, Passes, Problem, select
from xaibench.seeding import Rng


def output_difference(problem: Problem, references: Tensor, output: Output) -> Tensor:
    """(B, T): the explained output at each image minus its mean over the reference images (M, C, H, W), which all images share."""
    inputs = torch.cat([problem.images, references])
    logits = perturb.logits(problem, len(inputs), lambda position: inputs[position])
    batch = len(problem.images)
    classes = torch.arange(logits.shape[1], device=logits.device).expand(len(references), -1)
    expected = select(logits[batch:], classes, output).mean(0)
    return select(logits[:batch], problem.targets, output) - expected[problem.targets]


def difference_passes(problem: Problem, references: int) -> Passes:
    """The passes of `output_difference`."""
    return Passes(forward=len(problem.images) + references)


def own_difference(problem: Problem, references: perturb.Alter, output: Output, draws: int = 1) -> Tensor:
    """(B, T): the explained output at each image minus its mean over the image's own `draws` reference images."""
    images = problem.images
    explained = perturb.values(problem, 1, lambda row, _: images[row], output)
    return (explained - perturb.values(problem, 1, references, output, draws))[..., 0].clone()


def own_passes(problem: Problem, draws: int = 1) -> Passes:
    """The passes of `own_difference`."""
    return Passes(forward=len(problem.images) * (1 + draws))


def baseline_difference(problem: Problem, rng: Rng, baseline: Baseline, output: Output) -> Tensor:
    """(B, T): the explained output at each image minus its mean over the image's baselines."""
    draws = baseline.draws(problem)
    if not baseline.shared:
        return own_difference(problem, lambda row, draw: baseline(problem, rng, row, draw), output, draws)
    draw = torch.arange(draws, device=problem.images.device)
    return output_difference(problem, baseline(problem, rng, torch.zeros_like(draw), draw), output)


def baseline_passes(problem: Problem, baseline: Baseline) -> Passes:
    """The passes of `baseline_difference`."""
    draws = baseline.draws(problem)
    return difference_passes(problem, draws) if baseline.shared else own_passes(problem, draws)
