"""Random logit test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.explaining import declared_passes
from xaibench.metrics import reexplanation
from xaibench.metrics.similarity import Comparison, Similarity
from xaibench.problem import Explainer, Explanation, Passes, Problem
from xaibench.scoring import Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class RandomLogit(Comparison):
    """How alike the maps for the target and for another class are.

    An explanation of a class should say what sets it apart: maps that look the same for all classes do not. The other class is drawn for
    each (image, target) independently, uniformly among the classes that are not the target. Fields: see also `Comparison`.

    Parameters
    ----------
    similarity
        As in `Comparison`; by default structural similarity, as in the paper.
    absolute
        Whether absolute values are compared; by default signed ones are.

    Returns
    -------
    Scores
        `value`: (B, T), in [-1, 1]; lower is better, 1 for a method that ignores the class. NaN where a map is constant (over the pixels
        that are compared), or holds a NaN or an infinite value, and where there is a single class.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or the explanation cannot explain again.

    References
    ----------
    Sixt, Granz and Landgraf, When explanations lie, ICML 2020 (arXiv:1912.09818), section 4.1. Differs: maps are divided by their largest
    absolute value, so that 0 stays 0.
    """

    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Sixt et al., 2020 (arXiv:1912.09818)"

    similarity: Similarity = "ssim"
    absolute: bool = False

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """Those of the explainer for as many targets, and one forward pass that counts the classes."""
        return declared_passes(explainer, problem) + Passes(forward=1)

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        with torch.inference_mode():
            classes = problem.classifier(problem.images[:1]).shape[1]
        others = self._others(problem, rng, classes)
        again = reexplanation.explained(replace(problem, targets=others, masks=None), explanation)
        found = self.compared(problem, self.prepared(problem, explanation.values), self.prepared(problem, again))
        return Scores({"value": found.masked_fill(others == problem.targets, torch.nan).to(torch.float32)})

    def _others(self, problem: Problem, rng: Rng, classes: int) -> Tensor:
        """(B, T): another class for each target, whichever targets stand beside it."""
        index = problem.index[:, None].expand(problem.targets.shape).flatten()
        step = rng.each(index, problem.targets.flatten()).integers(classes - 1)
        return (problem.targets + 1 + step.reshape(problem.targets.shape)) % classes
