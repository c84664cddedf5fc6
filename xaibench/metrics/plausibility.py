"""Plausibility by nearest neighbors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from xaibench import perturb
from xaibench.component import PositiveInt
from xaibench.metrics.counterfactual_metric import CounterfactualMetric, Found
from xaibench.neighbors import nearest
from xaibench.problem import Counterfactuals, Explainer, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Plausibility(CounterfactualMetric):
    """Share of the nearest training images that are of the class that the counterfactual is meant for (yNN).

    A counterfactual among images of its class looks like one of them; one that stays among images of the original's class changed the
    classifier's mind, and little else. Distances are Euclidean, over all pixels and channels; of equally far images the first counts.

    Parameters
    ----------
    neighbors
        How many of the nearest training images are looked at.
    by
        What a training image's class is: its ``label``, or the classifier's ``prediction``.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1], a multiple of 1 / `neighbors`; higher is better. NaN where no counterfactual was found, and where the
        classifier gives a neighbor a NaN.

    Raises
    ------
    ValueError
        If counterfactuals and problem differ in images, targets or shape, or the problem has no probabilities.

    References
    ----------
    Pawelczyk et al., CARLA: a Python library to benchmark algorithmic recourse and counterfactual explanation algorithms, 2021
    (arXiv:2108.00783): yNN. Differs: by default true labels, which a misled classifier has no part in; ``prediction`` is the paper's.
    """

    higher_is_better: ClassVar[bool | None] = True
    paper: ClassVar[str] = "Pawelczyk et al., 2021 (arXiv:2108.00783)"
    exact_passes: ClassVar[bool] = False

    neighbors: PositiveInt = 5
    by: Literal["label", "prediction"] = "label"

    def unsupported(self, problem: Problem, explainer: Explainer[Counterfactuals]) -> str | None:
        """Needs as many training images as neighbors, and a model to predict their classes."""
        reason = super().unsupported(problem, explainer)
        if reason is None and self.by == "prediction" and problem.model is None:
            reason = "needs a model to predict the classes of training images"
        available = 0 if problem.training_data is None else len(problem.training_data.labels)
        if reason is None and available < self.neighbors:
            reason = f"needs {self.neighbors} training images, and there are {available}"
        return reason

    def passes(self, problem: Problem, explainer: Explainer[Counterfactuals]) -> Passes:
        """None for labels; for predictions at most one forward pass for each neighbor of each pair."""
        return Passes(self.neighbors * problem.targets.numel() if self.by == "prediction" else 0)

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """See `CounterfactualMetric`."""
        data = problem.training_data
        if data is None:
            raise ValueError("Problem.training_data=None: expected training images, among which neighbors are looked for")
        if not len(found.row):
            return {"value": problem.images.new_empty(0)}
        rows = nearest(found.counterfactuals, data.images, self.neighbors)[1].cpu()
        wanted = found.targets[:, None].expand(-1, self.neighbors)
        if self.by == "label":
            return {"value": (data.labels[rows].to(wanted.device) == wanted).float().mean(1)}
        flat = rows.flatten()
        logits = perturb.logits(problem, len(flat), lambda place: data.images[flat[place.cpu()]].to(problem.images.device))
        return {"value": perturb.read(logits, wanted.reshape(-1, 1), "correct").view(wanted.shape).mean(1)}
