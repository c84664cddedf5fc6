"""Error against exact Shapley values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from xaibench.maps import pool
from xaibench.problem import Explainer, Explanation, Family, Problem
from xaibench.scoring import Metric, Requires, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class ExactShapleyError(Metric):
    """How far a map is from the exact Shapley values of the pixels, as a share of their size.

    Only for classifiers that add up what each pixel contributes (`contributions`): there the Shapley value of a pixel, whose absence means
    its value in a background image, averaged over the background, is its contribution less the mean of its contributions in the background.
    An explainer that means something else by absence has an error that is not one of estimation. Channels are summed, as a pixel is one
    feature. Nothing is ranked, so there are no ties.

    Returns
    -------
    Scores
        `value`: (B, T), root mean square of the difference / that of the Shapley values, 0 or more; 0 is best, and a map of zeros has 1.
        NaN where the Shapley values are all 0. `correlation`: with them over the pixels (Pearson), in [-1, 1], higher is better; NaN where
        either is constant. Both are NaN where the map holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Lundberg and Lee, A unified approach to interpreting model predictions, NeurIPS 2017 (arXiv:1705.07874), eq. 8.
    """

    family: ClassVar[Family] = Family.AXIOMATIC
    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Lundberg and Lee, 2017 (arXiv:1705.07874)"
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL})

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs an additive classifier whose logits are explained, and a background."""
        reason = super().unsupported(problem, explainer)
        if reason is None and not callable(getattr(problem.classifier, "contributions", None)):
            reason = "needs a classifier whose Shapley values are known: one with a method `contributions`, such as model=additive"
        if reason is None and explainer.output != "logit":
            reason = f"the Shapley values are known of logits, and the {explainer.output} is explained"
        if reason is None and not len(problem.background):
            reason = "needs background images, and there are none"
        return reason

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        maps = pool(problem, explanation, "sum").flatten(2)
        known = shapley_values(problem).flatten(2)
        size = known.norm(dim=2)
        error = torch.where(size > 0, (maps - known).norm(dim=2) / size, torch.nan)
        found, truth = (values - values.mean(dim=2, keepdim=True) for values in (maps, known))
        # a constant map is not exactly 0 after its mean is taken away
        varied = (maps.amax(dim=2) > maps.amin(dim=2)) & (known.amax(dim=2) > known.amin(dim=2))
        correlation = (found * truth).sum(dim=2) / (found.norm(dim=2) * truth.norm(dim=2))
        defined = maps.isfinite().all(dim=2)
        values = {"value": error, "correlation": torch.where(varied, correlation, torch.nan)}
        return Scores({name: torch.where(defined, value, torch.nan).to(torch.float32) for name, value in values.items()})


def shapley_values(problem: Problem) -> Tensor:
    """(B, T, H, W), float64: the exact Shapley values of the targets' logits."""
    classifier: Any = problem.classifier
    with torch.no_grad():
        absent = [classifier.contributions(part).sum(0, dtype=torch.float64) for part in problem.background.split(problem.chunk)]
        mean = torch.stack(absent).sum(0) / len(problem.background)
        parts = zip(problem.images.split(problem.chunk), problem.targets.split(problem.chunk), strict=True)
        found = [(classifier.contributions(images), targets) for images, targets in parts]
        chosen = [terms[torch.arange(len(targets), device=targets.device)[:, None], targets] for terms, targets in found]
    return torch.cat(chosen).to(torch.float64) - mean[problem.targets]
