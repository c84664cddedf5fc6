"""The metrics that are read off removal curves, a problem for them, and their definitions with loops."""

import torch
from ranking_cases import RNG
from torch import nn

from xaibench.metrics.abpc import Abpc
from xaibench.metrics.aopc import Aopc
from xaibench.metrics.comprehensiveness import Comprehensiveness
from xaibench.metrics.irof import Irof
from xaibench.metrics.minimal_subset import MinimalSubset
from xaibench.metrics.pixel_flipping import PixelFlipping
from xaibench.metrics.region_perturbation import RegionPerturbation
from xaibench.metrics.road import Road
from xaibench.metrics.selectivity import Selectivity
from xaibench.metrics.sufficiency import Sufficiency
from xaibench.problem import Problem
from xaibench.removal import Constant
from xaibench.superpixels import Patches, Slic

CLASSES = [Abpc, Aopc, Comprehensiveness, Irof, MinimalSubset, PixelFlipping, RegionPerturbation, Road, Selectivity, Sufficiency]
METRICS = {
    "abpc": Abpc(steps=5),
    "aopc": Aopc(steps=5),
    "aopc least": Aopc(steps=5, order="least"),
    "region_perturbation": RegionPerturbation(superpixels=Patches(3)),
    "selectivity": Selectivity(),
    "pixel_flipping": PixelFlipping(steps=5),
    "irof": Irof(steps=7, superpixels=Slic(regions=9)),
    "road": Road(removal=Constant(0.5), steps=5),
    "comprehensiveness": Comprehensiveness(),
    "sufficiency": Sufficiency(),
    "minimal_subset": MinimalSubset(steps=20, share=0.7),
    "minimal_subset correct": MinimalSubset(steps=20, output="correct"),
}


def wide_problem():
    """Three images of 7 x 10 pixels in two channels, and a network whose predictions change along a curve."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 5 * 8, 4))
    model[3].weight.data *= 6
    model.requires_grad_(False)
    draw = torch.Generator().manual_seed(2)
    images = torch.rand(3, 2, 7, 10, generator=draw)
    with torch.inference_mode():
        targets = model(images).argsort(dim=1, descending=True)[:, :2].clone()
    index = torch.tensor([30, 4, 17])
    return Problem(model.eval(), images, targets, targets[:, 0], index, torch.rand(5, 2, 7, 10, generator=draw), chunk=7)


def fills(metric, problem, b):
    """The images whose pixels stand in for removed ones."""
    image = problem.images[b]
    if isinstance(metric, Irof):
        means = [problem.background[:, channel].mean() for channel in range(image.shape[0])]
        return [torch.stack([mean.expand(image.shape[1:]) for mean in means])]
    if isinstance(metric, RegionPerturbation):
        return [RNG.each(problem.index[b : b + 1], draw).uniform(*image.shape)[0] for draw in range(10)]
    if isinstance(metric, PixelFlipping):
        return [1 - image]
    return [torch.full_like(image, metric.removal.value)]


def grouped(metric, problem, b):
    """The pixels (row, column) of each region."""
    groups, side = {}, getattr(metric.superpixels, "side", 1)
    labels = metric.superpixels(problem.images)[b] if isinstance(metric, Irof) else None
    for row in range(problem.images.shape[2]):
        for column in range(problem.images.shape[3]):
            number = (row // side, column // side) if labels is None else labels[row, column].item()
            groups.setdefault(number, []).append((row, column))
    return list(groups.values())


def ordered(metric, problem, attributions, b, t):
    """The regions from most to least relevant."""
    pooled = attributions.values[b, t].double().sum(dim=0)
    return sorted(grouped(metric, problem, b), key=lambda region: -sum(pooled[pixel].item() for pixel in region) / len(region))


def output_without(metric, problem, b, t, regions):
    found = []
    for fill in fills(metric, problem, b):
        image = problem.images[b].clone()
        for row, column in (pixel for region in regions for pixel in region):
            image[:, row, column] = fill[:, row, column]
        with torch.inference_mode():
            logits = problem.model(image[None])[0]
        target = problem.targets[b, t].item()
        reads = {"logit": logits[target], "probability": logits.softmax(0)[target], "correct": (logits.argmax() == target).float()}
        found.append(reads[metric.output].item())
    return sum(found) / len(found)


def trapezoids(points, axis):
    return sum((points[i] + points[i + 1]) / 2 * (axis[i + 1] - axis[i]) for i in range(len(points) - 1))


def loop_scores(metric, problem, attributions, b, t):
    """The definitions, for one (image, target): values and curves as lists."""
    order = ordered(metric, problem, attributions, b, t)
    if isinstance(metric, Comprehensiveness | Sufficiency):
        counts = [0, *(max(1, round(share * len(order))) for share in metric.bins), len(order)]
    else:
        steps = metric.steps if isinstance(metric, Irof) else min(metric.steps, len(order))
        counts = [round(s * len(order) / steps) for s in range(steps + 1)]
    axis = [s / (len(counts) - 1) for s in range(len(counts))] if isinstance(metric, Irof) else [n / len(order) for n in counts]
    if isinstance(metric, Sufficiency | MinimalSubset):
        kept = [output_without(metric, problem, b, t, order[n:]) for n in counts]
        drops = [kept[-1] - point for point in kept[1:-1]]
        reached = [place for place, point in zip(axis, kept, strict=True) if point >= getattr(metric, "share", 1) * kept[-1]]
        found = sum(drops) / len(drops) if isinstance(metric, Sufficiency) else reached[0] if kept[-1] else float("nan")
        return {"value": found}, {metric.output: kept}
    most = [output_without(metric, problem, b, t, order[:n]) for n in counts]
    if isinstance(metric, Irof):
        return {"value": 1 - trapezoids([point / most[0] for point in most], axis)}, {metric.output: most}
    if isinstance(metric, Comprehensiveness):
        return {"value": sum(most[0] - point for point in most[1:-1]) / len(metric.bins)}, {metric.output: most}
    if isinstance(metric, PixelFlipping | Selectivity):
        return {"value": trapezoids(most, axis)}, {metric.output: most}
    if isinstance(metric, Aopc) and metric.order == "most":
        return {"value": sum(most[0] - point for point in most) / len(most)}, {metric.output: most}
    least = [output_without(metric, problem, b, t, order[::-1][:n]) for n in counts]
    if isinstance(metric, Aopc):
        return {"value": -sum(least[0] - point for point in least) / len(least)}, {metric.output: least}
    areas = {"most_first": trapezoids(most, axis), "least_first": trapezoids(least, axis)}
    between = areas["least_first"] - areas["most_first"]
    both = {f"{metric.output}_most_first": most, f"{metric.output}_least_first": least}
    return {"value": between / 2 if isinstance(metric, Road) else between, **areas}, both
