"""IM2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from xaibench.metrics.autoencoder_metric import EPSILON, AutoencoderMetric, reconstructed, squared
from xaibench.metrics.counterfactual_metric import Found
from xaibench.problem import Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Im2(AutoencoderMetric):
    """How much the autoencoder of the target's class and that of all classes disagree on a counterfactual, for its brightness.

    IM2 = |AE_q(c) - AE(c)|^2 / (|c|_1 + 1e-5) for a counterfactual c: AE_q was trained on images of the target q alone, AE on all.

    Parameters
    ----------
    autoencoder, least_agreement
        See `AutoencoderMetric`.
    input_range
        Range in which the norms are taken. |c|_1 depends on it strongly: a black image has 0 in [0, 1], and half a unit in each pixel in
        [-.5, .5], which the published table uses. Numbers of different ranges are not comparable.

    Returns
    -------
    Scores
        `value`: (B, T), at least 0; lower is better. Hvilshøj et al. 2021 print it times 100. NaN where no counterfactual was found.

    Raises
    ------
    ConfigurationError
        If the input range does not ascend.
    ValueError
        If counterfactuals and problem differ in images, targets or shape, or the problem has no probabilities.

    References
    ----------
    Van Looveren and Klaise, Interpretable Counterfactual Explanations Guided by Prototypes, 2019 (arXiv:1907.02584). Differs:
    architecture and training of the autoencoders, which `autoencoder` chooses.
    """

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """The ratio for each."""
        images = found.counterfactuals
        disagreement = reconstructed(problem, images, found.targets) - reconstructed(problem, images)
        size = self.ranged(images).abs().sum(dim=(1, 2, 3))
        return {"value": self.width**2 * squared(disagreement) / (size + EPSILON)}
