"""Small problems for the tests of counterfactual methods, and what each finds on them."""

from __future__ import annotations

import torch
from torch import nn

from xaibench import cost
from xaibench.problem import Passes, Problem
from xaibench.searching import Pairs
from xaibench.seeding import Rng

RNG = Rng(seed=3, component="test")


def make_problem(model, images, targets, chunk=7, **more):
    model = model.eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(11)
    with torch.inference_mode():
        probabilities = model(images).softmax(1).clone()
    index = torch.randperm(1000, generator=draw)[: len(images)]
    return Problem(model, images, targets, probabilities.argmax(1), index, images[:2], probabilities=probabilities, chunk=chunk, **more)


def linear_pair_problem(batch=5, shape=(1, 8, 9), scale=0.6, chunk=7, seed=0):
    """A binary linear classifier, whose logits differ by w x + b, and images within [.4, .6] that it takes for class 0; target 1.

    w and b are `weights_of`. All images lie far from the faces of the box, and b puts them below the boundary.
    """
    draw = torch.Generator().manual_seed(seed)
    images = 0.4 + 0.2 * torch.rand(batch, *shape, generator=draw)
    model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 2))
    model[1].weight.data = scale * torch.randn(2, images[0].numel(), generator=draw)
    weight = model[1].weight.data[1] - model[1].weight.data[0]
    model[1].bias.data = torch.tensor([0.0, -1.5 - float((images.flatten(1) @ weight).max())])
    return make_problem(model, images, torch.ones(batch, 1, dtype=torch.int64), chunk)


def weights_of(problem):
    """w (features,) and b of the difference of the two logits, w x + b, in float64."""
    layer = problem.model[1]
    return (layer.weight[1] - layer.weight[0]).double(), (layer.bias[1] - layer.bias[0]).double()


def conv_pair_problem(batch=4, shape=(3, 10, 9), targets=2, classes=4, chunk=7, seed=1):
    """A small convolutional network with large random weights, so that every class is near every image."""
    torch.manual_seed(seed)
    height, width = shape[1] - 2, shape[2] - 2
    model = nn.Sequential(nn.Conv2d(shape[0], 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * height * width, classes))
    model[3].weight.data *= 8
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, *shape, generator=draw)
    wanted = torch.stack([torch.randperm(classes, generator=draw)[:targets] for _ in range(batch)])
    return make_problem(model, images, wanted, chunk)


class Fixed(nn.Module):
    """The same logits for every image, with a gradient that is 0 everywhere."""

    def __init__(self, logits):
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, images):
        return self.logits + 0 * images.flatten(1).sum(1, keepdim=True)


def constant_problem(logits=(1.0, 0.0, 0.0), batch=3, shape=(1, 8, 9), targets=(1, 2)):
    """A classifier that gives every image the same logits, such as NaN."""
    images = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(2))
    return make_problem(Fixed(list(logits)), images, torch.tensor(targets).repeat(batch, 1))


def pairs_of(problem):
    """All (image, target) whose target is not the predicted class, in a row."""
    with torch.inference_mode():
        predicted = problem.model(problem.images).argmax(1)
    row, column = (problem.targets != predicted[:, None]).nonzero(as_tuple=True)
    return Pairs(problem.images[row].clone(), problem.targets[row, column], predicted[row].clone(), problem.index[row])


def counted(explainer, problem, rng=RNG):
    """The counterfactuals, and the passes through the classifier that were counted, without the base class's own."""
    with cost.measure(problem.model) as spent:
        found = explainer(problem, rng)
    return found, Passes(spent.forward - len(problem.images) - int(found.asked.sum()), spent.backward)
