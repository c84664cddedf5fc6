"""Proximity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench.component import NonNegativeFloat
from xaibench.metrics.changed_pixels import TOLERANCE, changed
from xaibench.metrics.counterfactual_metric import Found
from xaibench.metrics.ranged_metric import RangedMetric
from xaibench.problem import Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Proximity(RangedMetric):
    """Size of the change from the original to the counterfactual: the smaller, the closer the two are.

    Parameters
    ----------
    norm
        Of all pixels and channels: ``l1``, ``l2`` (not squared), ``linf``, or ``l1_l2``, the sum of the first two; ``l0`` is the number of
        pixels of which any channel changed by more than `tolerance`.
    tolerance
        In units of [0, 1]; for ``l0`` alone.
    input_range
        Range in whose units a change is given; ``l0`` does not depend on it, and nothing does on where a range of width 1 begins.

    Returns
    -------
    Scores
        `value`: (B, T), at least 0; lower is better. NaN where no counterfactual was found. A tiny value may be an adversarial example:
        read it beside oracle agreement.

    Raises
    ------
    ConfigurationError
        If the input range does not ascend.
    ValueError
        If counterfactuals and problem differ in images, targets or shape, or the problem has no probabilities.

    References
    ----------
    Wachter, Mittelstadt and Russell, Counterfactual Explanations without Opening the Black Box, 2017 (arXiv:1711.00399). ``l1_l2`` is the
    ElasticNet of Hvilshøj, Iosifidis and Assent 2021 (arXiv:2111.00177) as their published code computes it, hence as in their table: it
    is described there with the squared L2 norm, and computed without the square.
    """

    higher_is_better: ClassVar[bool | None] = False
    paper: ClassVar[str] = "Wachter, Mittelstadt and Russell, 2017 (arXiv:1711.00399)"

    norm: Literal["l0", "l1", "l2", "linf", "l1_l2"] = "l1"
    tolerance: NonNegativeFloat = TOLERANCE

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """The norm of each change."""
        if self.norm == "l0":
            return {"value": changed(found, self.tolerance).sum(dim=(1, 2))}
        change = found.changes.flatten(1)
        orders = {"l1": (1.0,), "l2": (2.0,), "linf": (torch.inf,), "l1_l2": (1.0, 2.0)}[self.norm]
        norms = [torch.linalg.vector_norm(change, order, dim=1) for order in orders]
        return {"value": self.width * torch.stack(norms).sum(dim=0)}
