"""Explanations that can explain again and tell what they were asked, and maps computed one by one, for the tests of metrics that do so."""

import dataclasses
from functools import partial

import torch
from ranking_cases import RNG

from xaibench.explaining import explained
from xaibench.problem import Explanation, Problem


def explanation(problem, explainer, rng=RNG) -> Explanation:
    return dataclasses.replace(explainer(problem, rng), again=partial(explained, explainer, rng=rng))


def spied(problem, explainer, rng=RNG) -> tuple[Explanation, list[Problem]]:
    """The explanation, and the problems that it will be asked to explain."""
    seen: list[Problem] = []

    def again(asked):
        seen.append(asked)
        return explained(explainer, asked, rng)

    return dataclasses.replace(explainer(problem, rng), again=again), seen


def copies_of(problem, seen, b):
    """The images that were explained for image b, in order."""
    return [image for asked in seen for image, index in zip(asked.images, asked.index, strict=True) if index == problem.index[b]]


def loop_gradient(model, image, target):
    image = image.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(image[None])[0, target], image)
    return gradient


def loop_input_x_gradient(model, image, target):
    return image * loop_gradient(model, image, target)


def state(model):
    """Parameters, buffers, mode and hooks."""
    hooks = [len(value) for module in model.modules() for name, value in vars(module).items() if name.endswith("_hooks")]
    modes = [(module.training, *(p.requires_grad for p in module.parameters())) for module in model.modules()]
    return {name: value.clone() for name, value in model.state_dict().items()}, hooks, modes


def unchanged(before, after):
    same = all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    return same and before[1:] == after[1:]
