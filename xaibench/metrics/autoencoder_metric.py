"""What the metrics share that ask autoencoders whether a counterfactual looks like its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import autoencoders
from xaibench.autoencoders import AutoencoderModel, ConvAutoencoder
from xaibench.component import Fraction
from xaibench.metrics.ranged_metric import RangedMetric
from xaibench.problem import Counterfactuals, Explainer, Problem, Training
from xaibench.scoring import Requires

EPSILON = 1e-5
"""Added to denominators, as in the paper."""


@dataclass(frozen=True)
class AutoencoderMetric(RangedMetric):
    """A metric with an autoencoder of all training images, and one of each class.

    Parameters
    ----------
    autoencoder
        Their architecture. Numbers of different autoencoders are not comparable, those of another seed included.
    least_agreement
        Share of the images whose reconstruction, by the autoencoder of all classes, must keep the predicted class; below it the metric is
        skipped with the reason.
    input_range
        See `RangedMetric`.
    """

    higher_is_better: ClassVar[bool | None] = False
    paper: ClassVar[str] = "Van Looveren and Klaise, 2019 (arXiv:1907.02584)"
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.TRAINING})

    autoencoder: AutoencoderModel = ConvAutoencoder()
    least_agreement: Fraction = 0.8

    def needs(self, training: Training, explainer: Explainer[Counterfactuals]) -> Mapping[str, Training]:
        """The autoencoders."""
        classes = {_name(k): autoencoders.training(training, self.autoencoder, only=k) for k in range(len(training.dataset.classes))}
        return {"autoencoder": autoencoders.training(training, self.autoencoder)} | classes

    def unsupported(self, problem: Problem, explainer: Explainer[Counterfactuals]) -> str | None:
        """Needs a model, and a good autoencoder."""
        reason = super().unsupported(problem, explainer)
        if reason is None and "autoencoder" in problem.helpers:
            return autoencoders.unfit(problem, problem.helpers["autoencoder"], self.least_agreement)
        return reason


def reconstructed(problem: Problem, images: Tensor, classes: Tensor | None = None) -> Tensor:
    """(n, C, H, W): each image as the autoencoder of its class, of (n,), or that of all classes, gives it back."""
    found = torch.empty_like(images)
    labels = [] if classes is None else classes.unique().tolist()
    groups = [(_name(label), classes == label) for label in labels] or [("autoencoder", slice(None))]
    for name, rows in groups if len(images) else ():
        found[rows] = autoencoders.through(problem, problem.helpers[name], images[rows])
    return found


def squared(differences: Tensor) -> Tensor:
    """(n,): the squared L2 norm of each of (n, C, H, W)."""
    return differences.square().sum(dim=(1, 2, 3))


def _name(label: int) -> str:
    return f"autoencoder_{label}"
