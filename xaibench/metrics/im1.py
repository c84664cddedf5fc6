"""IM1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.metrics.autoencoder_metric import EPSILON, AutoencoderMetric, reconstructed, squared
from xaibench.metrics.counterfactual_metric import Found
from xaibench.problem import Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Im1(AutoencoderMetric):
    """How much better the autoencoder of the target's class reconstructs a counterfactual than that of the original's class.

    IM1 = |c - AE_q(c)|^2 / (|c - AE_p(c)|^2 + 1e-5) for a counterfactual c: q is the target, p the class that the classifier gives the
    original, and AE_k was trained on images of class k alone.

    Parameters
    ----------
    autoencoder, least_agreement
        See `AutoencoderMetric`.
    input_range
        Range in which the norms are taken: only its width counts, and that only against the 1e-5.

    Returns
    -------
    Scores
        `value`: (B, T), at least 0; lower is better, and below 1 the counterfactual looks more like the target's class than like the
        original's. NaN where no counterfactual was found, or where the target is the predicted class: there is nothing to compare.

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
        images, scale = found.counterfactuals, self.width**2
        wanted, given = (squared(images - reconstructed(problem, images, classes)) for classes in (found.targets, found.predicted))
        ratio = scale * wanted / (scale * given + EPSILON)
        return {"value": ratio.masked_fill(found.targets == found.predicted, torch.nan)}
