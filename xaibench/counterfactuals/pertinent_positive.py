"""Pertinent positives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.component import NonNegativeFloat, PositiveFloat, PositiveInt
from xaibench.counterfactuals.contrastive import ContrastiveSearch
from xaibench.counterfactuals.fista import Goal
from xaibench.problem import Problem
from xaibench.searching import Pairs
from xaibench.seeding import Rng


@dataclass(frozen=True)
class PertinentPositive(ContrastiveSearch):
    """The least part of the image that alone is still of the predicted class: what must be present for it to be what it is.

    Minimizes the loss of `FistaSearch` over images that lie, in every pixel, between `absent` and the given image; x there is the image
    with nothing present, so distances are the size of the part. The target must be the predicted class.

    Parameters
    ----------
    output, c, bisections, iterations, learning_rate, beta, gamma, kappa, patience
        See `FistaSearch`.
    absent
        The value that stands for nothing.
    confidence, autoencoder, least_agreement
        See `AutoencodedSearch`; the latter two only with gamma > 0.

    Returns
    -------
    Counterfactuals
        (B, T, C, H, W), in [0, 1]: the part, all else being `absent`. The whole image is one, though not the least: not found are only
        images that lack the confidence that is asked for; they are given back whole.

    References
    ----------
    Dhurandhar et al., Explanations based on the missing: towards contrastive explanations with pertinent negatives, NeurIPS 2018
    (arXiv:1802.07623), equations 3 to 7. Differs: rounds start with the whole image, as where nothing is present a
    network of rectified units may have no gradient; a round counts as successful, and is followed by one with a lower c, where it found
    back into the class after it had left it; beta is lower; rounds end early.
    """

    contrary: ClassVar[bool] = False

    c: PositiveFloat = 100.0
    iterations: PositiveInt = 100
    beta: NonNegativeFloat = 0.01

    def goal(self, problem: Problem, pairs: Pairs, rng: Rng) -> Goal:
        """See `FistaSearch`."""
        images, empty = pairs.images, self.emptied(pairs.images)
        return Goal(empty, images, images.minimum(empty), images.maximum(empty), fulfilled=True)
