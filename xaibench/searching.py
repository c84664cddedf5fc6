"""Counterfactuals: the pairs to search, the rule of what is found, and calling a method on any number of images in bounded memory."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.component import Fraction
from xaibench.explaining import FLAGS, blocks
from xaibench.problem import Counterfactuals, Explainer, Family, Output, Passes, Problem
from xaibench.seeding import Rng

VERSION = 1

TENSORS = ("images", "found", "asked", "forward", "backward")
"""The tensors of `Counterfactuals`."""


@dataclass(frozen=True)
class Pairs:
    """(image, target) pairs to search, in a row.

    Attributes
    ----------
    images
        (n, C, H, W): the images to start from.
    targets, predicted
        (n,): the class that is wanted, and the one that the classifier gives the image.
    index
        (n,): position in the test set. Draws of a pair come from ``rng.each(index, targets)``.
    """

    images: Tensor
    targets: Tensor
    predicted: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: Tensor | slice) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.images[rows], self.targets[rows], self.predicted[rows], self.index[rows])


@dataclass(frozen=True)
class Proposals:
    """What a method proposes for each pair: images (n, C, H, W), and the passes through the classifier that it took, (n,) int64."""

    images: Tensor
    forward: Tensor
    backward: Tensor


@dataclass(frozen=True)
class CounterfactualExplainer(Explainer[Counterfactuals]):
    """Looks, for each (image, target), for an image close by that the classifier takes for the target.

    Attributes
    ----------
    differentiates
        Of the class: whether it needs the classifier's gradient. The others take any black box.
    contrary
        Of the class: whether the target is to be another class than the predicted one. Where it is not, it is to be the predicted one.
    output
        What is driven to the target; fixed where a method leaves no choice.
    confidence
        Probability of the target that is asked for, beside its being the largest; 0 asks for no more than that.
    """

    gives: ClassVar[type] = Counterfactuals
    family: ClassVar[Family] = Family.SEARCH
    exact_passes: ClassVar[bool] = False
    differentiates: ClassVar[bool] = True
    contrary: ClassVar[bool] = True

    output: Output = field(default="probability", init=False)
    confidence: Fraction = 0.0

    def unsupported(self, problem: Problem) -> str | None:
        """Needs a model, and its gradient where the method follows it."""
        reason = super().unsupported(problem)
        if reason is None and self.differentiates and not differentiable(problem):
            return "needs the classifier's gradient with respect to the image, and it gives none"
        return reason

    def passes(self, problem: Problem) -> Passes:
        """At most: the search of each pair; one forward pass for each image, and for each pair the one that decides."""
        pairs, most = problem.targets.numel(), self.most_passes(problem)
        return Passes(len(problem.images) + pairs * (most.forward + 1), pairs * most.backward)

    @abstractmethod
    def most_passes(self, problem: Problem) -> Passes:
        """The passes through the classifier that the search of one pair takes at most."""

    @abstractmethod
    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        """A proposal for each pair; no pair's depends on the others. Finite, or it is not found; clipped to [0, 1] afterwards."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        """Search every (image, target).

        Raises
        ------
        ValueError
            If images lie outside [0, 1].
        """
        low, high = float(problem.images.min()), float(problem.images.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"Problem.images from {low:g} to {high:g}: expected values in [0, 1]")
        predicted = perturb.logits(problem, len(problem.images), lambda rows: problem.images[rows]).argmax(1)
        asked = (problem.targets != predicted[:, None]) == self.contrary
        row, column = asked.nonzero(as_tuple=True)
        pairs = Pairs(problem.images[row], problem.targets[row, column], predicted[row], problem.index[row])
        images = problem.images[:, None].repeat(1, problem.targets.shape[1], 1, 1, 1)
        found = torch.zeros_like(asked)
        forward, backward = (torch.zeros_like(problem.targets) for _ in range(2))
        if len(pairs):
            proposals = self.search(problem, pairs, rng)
            proposed = proposals.images.detach().to(torch.float32).clamp(0, 1)
            images[row, column] = proposed
            logits = perturb.logits(problem, len(pairs), lambda rows: proposed[rows])
            found[row, column] = verdict(logits, pairs.targets, self.confidence)
            forward[row, column], backward[row, column] = proposals.forward, proposals.backward
        return Counterfactuals(images, found, asked, forward, backward)


def verdict(logits: Tensor, targets: Tensor, confidence: float) -> Tensor:
    """(n,), bool: the rule of what is found, for (n, K) logits and (n,) targets.

    The target has the largest logit (the first of equals counts), no logit is NaN, and its probability is at least `confidence`. Logits
    are those of the stored image: clipped to [0, 1], float32.
    """
    first = perturb.read(logits, targets[:, None], "correct")[:, 0] == 1
    return first & (perturb.read(logits, targets[:, None], "probability")[:, 0] >= confidence)


def searched(explainer: Explainer[Counterfactuals], problem: Problem, rng: Rng) -> Counterfactuals:
    """The counterfactuals of all images, block by block: an image's do not depend on the others."""
    found = [explainer(problem.take(rows), rng) for rows in blocks(problem)]
    if not found:
        raise ValueError("Problem.images: expected at least one image")
    joined: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in found]) for name in TENSORS}
    return Counterfactuals(**joined)


def flags(explanation: Counterfactuals) -> Tensor:
    """(B, T), uint8: positions in `explaining.FLAGS`."""
    flag = torch.where(explanation.found, 0, FLAGS.index("without a counterfactual"))
    flag[~explanation.asked] = FLAGS.index("not asked for")
    flag[explanation.asked & ~explanation.images.isfinite().all(dim=(2, 3, 4))] = FLAGS.index("not finite")
    return flag.to(torch.uint8)


def differentiable(problem: Problem) -> bool:
    """Whether the classifier passes a gradient back to its images."""
    with torch.enable_grad():
        image = problem.images[:1].detach().clone().requires_grad_(True)
        return bool(problem.classifier(image).requires_grad)
