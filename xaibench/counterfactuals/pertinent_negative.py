"""Pertinent negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xaibench.counterfactuals.contrastive import ContrastiveSearch
from xaibench.counterfactuals.fista import Goal
from xaibench.problem import Problem
from xaibench.searching import Pairs
from xaibench.seeding import Rng


@dataclass(frozen=True)
class PertinentNegative(ContrastiveSearch):
    """The image with the least added to it that makes it one of the target class: what must be absent for it to be what it is.

    Minimizes the loss of `FistaSearch` over images that are, in every pixel, at least as far from `absent` as the given image, on the
    same side. Where that has the value `absent` itself, both sides are allowed.

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
        (B, T, C, H, W), in [0, 1]; the given image where none was found.

    References
    ----------
    Dhurandhar et al., Explanations based on the missing: towards contrastive explanations with pertinent negatives, NeurIPS 2018
    (arXiv:1802.07623), equations 1, 2 and 5 to 7. Differs: a target is given, and L asks for it (the paper's asks for any other class
    than the image's); what is added may lie on either side of the value that stands for nothing; rounds end early.
    """

    contrary: ClassVar[bool] = True

    def goal(self, problem: Problem, pairs: Pairs, rng: Rng) -> Goal:
        """See `FistaSearch`."""
        images, empty = pairs.images, self.emptied(pairs.images)
        return Goal(images, images, torch.where(images > empty, images, 0.0), torch.where(images < empty, images, 1.0))
