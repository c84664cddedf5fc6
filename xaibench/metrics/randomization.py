"""Classifiers with random parameters in some layers, and what the tests share that go through the layers."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from xaibench.component import PositiveInt
from xaibench.metrics import reexplanation
from xaibench.metrics.similarity import Comparison
from xaibench.problem import Explainer, Explanation, Passes, Problem
from xaibench.scoring import Scores
from xaibench.seeding import Rng, global_seed

Order = Literal["top_down", "bottom_up", "independent"]

NORMALIZATION = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Layer:
    """What is randomized together: a module with parameters, and the normalization that follows it.

    Attributes
    ----------
    name
        "layer_<k>_<module>": k counts from 1, next to the image; dots of the module's name in the classifier become underscores.
    modules
        Names in the classifier.
    """

    name: str
    modules: tuple[str, ...]


@dataclass(frozen=True)
class LayerRandomization(Comparison):
    """How alike maps stay when the classifier's layers get random parameters, one more in each step, or each alone.

    A layer is a module with parameters of its own, in the order in which an image passes them, together with the normalization layers
    that follow it. Random parameters are those of the module's own `reset_parameters` (for batch normalization, running statistics too),
    drawn from the seed on a copy of the classifier: a layer's are the same in every step and in every order. Explainers that draw at
    random draw the same for the copy.

    Parameters
    ----------
    order
        "top_down": from the output on, every step adds the layer below. "bottom_up": from the image on. "independent": each layer alone.
    randomizations
        Independent random parameters of each layer; similarities are averaged over them.
    """

    higher_is_better: ClassVar[bool | None] = False

    order: Order = "top_down"
    randomizations: PositiveInt = 1

    @abstractmethod
    def original(self, problem: Problem, explanation: Explanation, rng: Rng) -> Tensor:
        """(B, T, C or 1, H, W): the maps of the classifier itself."""

    @abstractmethod
    def again(self, problem: Problem, explanation: Explanation, rng: Rng) -> Tensor:
        """(B, T, C or 1, H, W): the maps of another classifier, the problem's."""

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Every layer must be one that can be initialized again."""
        reason = super().unsupported(problem, explainer)
        found = find(problem) if reason is None else []
        return found if isinstance(found, str) else reason

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        found = layers(problem)
        drawn = seeds(rng, self.randomizations, len(found))
        original = self.prepared(problem, self.original(problem, explanation, rng))
        values: dict[str, Tensor] = {}
        for step, layer in enumerate(found):
            total = original.new_zeros(problem.targets.shape)
            for repetition in drawn:
                pairs = list(zip(found, repetition, strict=True))
                chosen = {"top_down": pairs[step:], "bottom_up": pairs[: step + 1], "independent": pairs[step : step + 1]}[self.order]
                changed = reexplanation.with_model(problem, randomized(problem.classifier, chosen))
                total += self.compared(problem, original, self.prepared(problem, self.again(changed, explanation, rng)))
            values[layer.name] = total / self.randomizations
        values = {"value": torch.stack(list(values.values())).mean(0)} | values
        return Scores({name: value.to(torch.float32) for name, value in values.items()})

    def explained(self, problem: Problem) -> int:
        """How often all images are explained with a randomized classifier."""
        return len(layers(problem)) * self.randomizations


def times(count: int, passes: Passes) -> Passes:
    """The passes of several explanations."""
    return Passes(count * passes.forward, count * passes.backward)


def layers(problem: Problem) -> list[Layer]:
    """The classifier's layers, from the image to the output. Takes one forward pass.

    Raises
    ------
    ValueError
        With the reason, if they cannot be randomized.
    """
    found = find(problem)
    if isinstance(found, str):
        raise ValueError(f"Problem.model: {found}")
    return found


def find(problem: Problem) -> list[Layer] | str:
    """The layers, or why they cannot be randomized. Takes one forward pass."""
    model = problem.classifier
    own = {name: module for name, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None}
    fixed = next((name for name, module in own.items() if not hasattr(module, "reset_parameters")), None)
    if fixed is not None:
        return f"module {fixed or type(model).__name__!r} has parameters and no reset_parameters()"
    order = _called(model, own, problem.images[:1])
    unused = next((name for name in own if name not in order), None)
    if unused is not None:
        return f"module {unused!r} has parameters and is not called: its place among the layers is not known"
    groups: list[list[str]] = []
    for name in order:
        if groups and isinstance(own[name], NORMALIZATION):
            groups[-1].append(name)
        else:
            groups.append([name])
    named = (f"layer_{place}_{group[0].replace('.', '_')}" for place, group in enumerate(groups, start=1))
    return [Layer(name, tuple(group)) for name, group in zip(named, groups, strict=True)] or "the classifier has no parameters"


def seeds(rng: Rng, repetitions: int, count: int) -> list[list[int]]:
    """Seeds of each layer's random parameters, for each repetition."""
    drawn: list[list[int]] = torch.randint(2**31, (repetitions, count), generator=rng.shared()).tolist()
    return drawn


def randomized(model: nn.Module, chosen: Iterable[tuple[Layer, int]]) -> nn.Module:
    """A copy of a classifier in which some layers are initialized again, each from a seed of its own: alike on every device."""
    network = copy.deepcopy(model)
    modules: dict[str, Any] = dict(network.named_modules())
    for layer, seed in chosen:
        with global_seed(seed):
            for name in layer.modules:
                fresh = copy.deepcopy(modules[name]).cpu()
                fresh.reset_parameters()
                modules[name].load_state_dict(fresh.state_dict())
    return network


def _called(model: nn.Module, modules: dict[str, nn.Module], image: Tensor) -> list[str]:
    """The modules' names in the order in which they are first called."""
    order: list[str] = []
    handles = [module.register_forward_pre_hook(lambda *_, name=name: order.append(name)) for name, module in modules.items()]
    try:
        with torch.inference_mode():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(order))
