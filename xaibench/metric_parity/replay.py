"""Two libraries score the same maps with the same draws: what one of our metrics does is kept, and given to Quantus."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.adapters import quantus
from xaibench.problem import Attributions, Explainer, Problem
from xaibench.scoring import Metric
from xaibench.seeding import Rng

HOLE = 0.5 + 2.0**-10
"""The intensity of removed pixels that shows where ours removed: no pixel of an 8-bit image has it, and float32 holds it."""


@dataclass
class Replayed:
    """What a metric of ours sent through the classifier and the explainer.

    Attributes
    ----------
    inputs
        (B, n, C, H, W): the inputs of each image other than itself, each once, in their order.
    models
        The altered networks that it explained.
    classes
        (B,): the last other class that it explained.
    """

    inputs: Tensor
    models: list[nn.Module] = field(default_factory=list)
    classes: Tensor | None = None

    def next_inputs(self) -> Callable[..., Any]:
        """A perturbation function for Quantus that gives the inputs one after the other."""
        turn: Iterator[Tensor] = iter(self.inputs.flatten(2).unbind(1))
        return lambda arr, **_: next(turn).numpy().astype(arr.dtype)

    def holes(self) -> Tensor:
        """(B, n, H W), bool: where the inputs have holes."""
        return (self.inputs[:, :, 0] == HOLE).flatten(2)


@dataclass(frozen=True)
class Case:
    """What both libraries score: images with one target each.

    Attributes
    ----------
    problem, explainer, explanation
        The images, what explains them (and explains again), and their maps.
    replayed
        What ours drew: Quantus then takes the same instead of drawing.
    batch
        How many images Quantus takes at once; all by default.
    """

    problem: Problem
    explainer: Explainer
    explanation: Attributions
    replayed: Replayed | None = None
    batch: int | None = None

    def take(self, rows: slice) -> Case:
        """The same case with some of its images."""
        return dataclasses.replace(self, problem=self.problem.take(rows), explanation=self.explanation.take(rows))

    def explain(self, model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
        """(n, C or 1, H, W): the same explainer for any network, images and classes."""
        model = model if model is self.problem.model else copy.deepcopy(model).eval().requires_grad_(False)
        rows = torch.arange(len(images)) % len(self.problem.index)
        known: dict[str, Any] = {"probabilities": None, "masks": None, "index": self.problem.index[rows]}
        problem = dataclasses.replace(self.problem, model=model, images=images, targets=classes[:, None], labels=classes, **known)
        return self.explainer(problem, Rng(0, 0, type(self.explainer).__name__)).values[:, 0]

    def quantus(self, name: str, settings: Mapping[str, Any] | None = None, again: bool = False, **more: Any) -> Any:
        """What Quantus's class gives, untouched; `again` where it explains again."""
        explain = self.explain if again else None
        maps = more.pop("maps", self.explanation.values[:, 0])
        return quantus.score(name, self.problem, maps, settings, explain, batch=self.batch, **more)


def replay(metric: Metric, case: Case, rng: Rng) -> Replayed:
    """Call a metric image by image, and keep what it does."""
    inputs: list[Tensor] = []
    models: list[nn.Module] = []
    classes: list[Tensor] = []
    for row in range(len(case.problem.images)):
        alone = case.take(slice(row, row + 1))
        sent: list[Tensor] = []
        explained: list[Problem] = []

        def keep(_: nn.Module, arguments: tuple[Tensor, ...], sent: list[Tensor] = sent) -> None:
            sent.extend(arguments[0].detach().cpu().clone())

        def again(problem: Problem, explained: list[Problem] = explained) -> Attributions:
            altered = None if problem.model is case.problem.model else copy.deepcopy(problem.model)
            explained.append(dataclasses.replace(problem, model=altered))
            return case.explainer(problem, Rng(0, 0, type(case.explainer).__name__))

        hook = alone.problem.classifier.register_forward_pre_hook(keep)
        try:
            metric(alone.problem, dataclasses.replace(alone.explanation, again=again), rng)
        finally:
            hook.remove()
        images = [image for problem in explained for image in problem.images] if explained else _without(sent, alone.problem.images[0])
        inputs.append(torch.stack(images) if images else alone.problem.images[:0])
        models = models or [problem.model for problem in explained if problem.model is not None]
        classes += [problem.targets[-1, -1] for problem in explained[-1:]]
    return Replayed(torch.stack(inputs), models, torch.stack(classes) if classes else None)


def _without(sent: list[Tensor], image: Tensor) -> list[Tensor]:
    """What was sent, but for the first time that it was the image itself."""
    same = next((place for place, other in enumerate(sent) if torch.equal(other, image)), None)
    return sent if same is None else sent[:same] + sent[same + 1 :]
