"""Frechet distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.metrics import frechet
from xaibench.metrics.counterfactual_metric import CounterfactualMetric, Found
from xaibench.metrics.representation import layer_of, representations
from xaibench.problem import Counterfactuals, Explainer, Passes, Problem
from xaibench.scoring import Requires
from xaibench.seeding import Rng


@dataclass(frozen=True)
class FrechetDistance(CounterfactualMetric):
    """How far the distribution of all counterfactuals is from that of training images, seen by the classifier that is explained.

    Squared Frechet distance of the normal distributions with the means and covariances of their features: what enters the classifier's
    last linear layer. It belongs to the set of all counterfactuals that were found; each image's number is its pseudo-value, n times the
    distance less n - 1 times the distance without the image's counterfactuals, where n images have some. Their mean is the jackknife
    estimate, without the bias of the order of 1 / n that the plain distance has, and their spread gives its interval. A counterfactual
    that fools the classifier by noise may have the features of a training image: other classifiers' features would tell.

    Parameters
    ----------
    train_images
        Training images to compare with: the first of a fixed order, the same for all classifiers; null takes all.

    Returns
    -------
    Scores
        `value`: (B, T), the image's pseudo-value, in squared units of the features; lower is better, a single one may be negative. NaN
        where no counterfactual was found, or none of another image. `plain`: the distance itself, the same number for all; 0 or more, NaN
        where there are fewer than two counterfactuals. All are NaN if a feature is not finite.

    References
    ----------
    Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash equilibrium, NeurIPS 2017 (arXiv:1706.08500),
    eq. 6. Differs: the explained classifier's features, not those of Inception; the jackknife, of Efron, The jackknife, the bootstrap and
    other resampling plans, 1982, sections 2 and 3, with images, not counterfactuals, left out.
    """

    higher_is_better: ClassVar[bool | None] = False
    paper: ClassVar[str] = "Heusel et al., 2017 (arXiv:1706.08500)"
    exact_passes: ClassVar[bool] = False
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL})
    set_level: ClassVar[bool] = True

    train_images: PositiveInt | None = 10_000

    def unsupported(self, problem: Problem, explainer: Explainer[Counterfactuals]) -> str | None:
        """Needs features, and training images."""
        reason = super().unsupported(problem, explainer)
        if reason is None and layer_of(problem.classifier) is None:
            reason = "the classifier has no linear layer, whose input would be the features"
        if reason is None and self._size(problem) < 2:
            reason = "needs at least two training images"
        return reason

    def passes(self, problem: Problem, explainer: Explainer[Counterfactuals]) -> Passes:
        """At most: one forward pass for each training image, and one for each pair; those without a counterfactual take none."""
        return Passes(self._size(problem) + problem.targets.numel())

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """See `CounterfactualMetric`."""
        if not len(found.row):
            return {name: problem.images.new_empty(0) for name in ("value", "plain")}
        features = representations(problem, len(found.row), lambda rows: found.counterfactuals[rows])
        training = self._training_features(problem)
        images, group = torch.unique(found.row, return_inverse=True)
        distances = features.new_full((len(images) + 1,), torch.nan, dtype=torch.float64)
        if features.isfinite().all() and training.isfinite().all():
            distances = frechet.without(features, group + 1, len(images) + 1, frechet.reference(training))  # the first group is empty
        plain, less = distances[0], distances[1:]
        pseudo = len(images) * plain - (len(images) - 1) * less
        return {"value": pseudo[group], "plain": plain.expand(len(group))}

    def _training_features(self, problem: Problem) -> Tensor:
        data, size = problem.training_data, self._size(problem)
        if data is None:
            raise ValueError("Problem.training_data=None: expected training images, which counterfactuals are compared with")
        # not from `rng`: all classifiers, seeds and draws are compared with the same images
        order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(0))
        return representations(problem, size, lambda rows: data.images[order[rows.cpu()]].to(problem.images.device))

    def _size(self, problem: Problem) -> int:
        available = 0 if problem.training_data is None else len(problem.training_data.labels)
        return available if self.train_images is None else min(available, self.train_images)
