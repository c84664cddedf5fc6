"""Small problems for the tests of the perturbation engine and of the removal operators."""

from dataclasses import replace

import torch
from hypothesis import settings
from torch import nn

from xaibench import curves
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng

RNG = Rng(seed=3, component="test")
few = settings(deadline=None, max_examples=20, derandomize=True, database=None)


class Pixels(nn.Module):
    """Gives its input as logits, and keeps it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    @property
    def sizes(self):
        return [len(images) for images in self.seen]

    def forward(self, images):
        self.seen.append(images.clone())
        return images.flatten(1)


def sent(problem, ranked, removal, steps, first="most"):
    """(B, T, S + 1, C H W): the images that `curves` sends through the classifier."""
    problem = replace(problem, model=Pixels())
    curves.curves(problem, ranked, removal, RNG, curves.counts(ranked, steps), ("logit",), first)
    found = torch.cat(problem.model.seen)
    return found.reshape(*problem.targets.shape, -1, found[0].numel())


def outputs(problem, ranked, removal, steps, first="most", read="logit", classes=None):
    """(B, T, S + 1): one read along a curve."""
    return curves.curves(problem, ranked, removal, RNG, curves.counts(ranked, steps), (read,), first, classes)[read]


def make_problem(batch=3, channels=1, height=4, width=4, targets=2, chunk=7, seed=0, model=None):
    draw = torch.Generator().manual_seed(seed)
    return Problem(
        model=model or Pixels(),
        images=torch.rand(batch, channels, height, width, generator=draw) * 0.9 + 0.05,
        targets=torch.zeros(batch, targets, dtype=torch.int64),
        labels=torch.zeros(batch, dtype=torch.int64),
        index=torch.randperm(1000, generator=draw)[:batch],
        background=torch.rand(5, channels, height, width, generator=draw),
        chunk=chunk,
    )


def integer_maps(problem, high, channels=1, seed=1):
    """Attributions with many ties."""
    shape = (*problem.targets.shape, channels, *problem.images.shape[2:])
    return Attributions(torch.randint(-high, high + 1, shape, generator=torch.Generator().manual_seed(seed)).float())


def distinct_maps(problem, seed=1):
    """Attributions without ties: whole numbers, some negative, shuffled for each map."""
    batch, targets, height, width = *problem.targets.shape, *problem.images.shape[2:]
    draw = torch.Generator().manual_seed(seed)
    maps = torch.stack([torch.randperm(height * width, generator=draw) for _ in range(batch * targets)])
    return Attributions(maps.reshape(batch, targets, 1, height, width).float() - 5)


def golden_problem():
    images = torch.arange(9).reshape(1, 1, 3, 3) / 8
    one = torch.zeros(1, dtype=torch.int64)
    return Problem(Pixels(), images, one[:, None], one, index=torch.tensor([17]), background=torch.cat([images, images**2]))
