"""Small problems and deliberate faults for the tests of metrics that rank pixels."""

from dataclasses import replace

import torch
from torch import nn

from xaibench import curves
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng

RNG = Rng(seed=3, component="test")


def make_problem(model, batch=4, channels=3, size=6, targets=2, classes=4, seed=0, chunk=7):
    draw = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return Problem(
        model=model.eval(),
        images=torch.rand(batch, channels, size, size, generator=draw),
        targets=torch.stack([torch.randperm(classes, generator=draw)[:targets] for _ in range(batch)]),
        labels=torch.randint(0, classes, (batch,), generator=draw),
        index=torch.randperm(1000, generator=draw)[:batch],
        background=torch.rand(5, channels, size, size, generator=draw),
        chunk=chunk,
    )


def conv_problem(batch=4, channels=3, size=6, targets=2, classes=4, chunk=7):
    """A small convolutional network with large random weights, so that its predictions change along a curve."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * (size - 2) ** 2, classes))
    model[3].weight.data *= 8
    return make_problem(model, batch, channels, size, targets, classes, chunk=chunk)


def linear_problem(batch=4, channels=2, size=6, targets=2, classes=4, seed=0):
    """The problem and its true effects w x, (B, T, C, H, W): what each input adds to the target's logit."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(channels * size**2, classes))
    problem = make_problem(model, batch, channels, size, targets, classes, seed=seed)
    weights = model[1].weight.reshape(classes, channels, size, size)
    return problem, weights[problem.targets] * problem.images[:, None]


def random_attributions(problem, channels=None, seed=5):
    batch, targets = problem.targets.shape
    depth, *size = problem.images.shape[1:]
    draw = torch.Generator().manual_seed(seed)
    return Attributions(torch.randn(batch, targets, channels or depth, *size, generator=draw))


def pixel_orders(attributions):
    """For each (image, target) the pixels' numbers, row by row, from most to least relevant; for maps without ties."""
    maps = attributions.values.double().sum(dim=2).flatten(2).tolist()
    return [[sorted(range(len(values)), key=lambda pixel: -values[pixel]) for values in image] for image in maps]


def without_pixels(image, pixels, value=0.0):
    altered = image.clone()
    for pixel in pixels:
        altered[:, pixel // image.shape[2], pixel % image.shape[2]] = value
    return altered


def mutants(monkeypatch):
    """Turns one deliberate fault of the engine on, by name."""
    ranking, counts, area = curves.ranking, curves.counts, curves.area

    def reranked(change):
        def faulty(*arguments, **named):
            found = ranking(*arguments, **named)
            return replace(found, rank=change(found.rank, found.rank[0, 0].numel()))

        return "ranking", faulty

    faults = {
        "order off by one": reranked(lambda rank, pixels: (rank + 1) % pixels),
        "order upside down": reranked(lambda rank, pixels: pixels - 1 - rank),
        "targets swapped": reranked(lambda rank, pixels: rank.flip(1)),
        "no first point": ("counts", lambda *arguments: counts(*arguments).clamp_min(1)),
        "last pixel stays": ("counts", lambda *arguments: counts(*arguments).clamp_max(int(counts(*arguments).max()) - 1)),
        "unit steps": ("area", lambda curve, axis: area(curve, torch.arange(len(axis), dtype=torch.float64))),
        "no first trapezoid": ("area", lambda curve, axis: area(curve[..., 1:], axis[1:])),
    }
    return {name: lambda fault=fault: monkeypatch.setattr(curves, *fault) for name, fault in faults.items()}


CURVE_FAULTS = ["order off by one", "order upside down", "targets swapped", "no first point", "last pixel stays"]
AREA_FAULTS = [*CURVE_FAULTS, "unit steps", "no first trapezoid"]
