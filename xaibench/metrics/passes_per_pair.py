"""Passes for each pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from xaibench.problem import Counterfactuals, Family, Problem
from xaibench.scoring import Metric, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class PassesPerPair(Metric[Counterfactuals]):
    """How many images the search sent through the classifier, forward and back, for a pair, whether it found a counterfactual or not.

    It counts what the search reports, without what helpers and training cost and without the pass that decides what is found.

    Returns
    -------
    Scores
        `value`: (B, T), forward and backward passes; lower is better. `forward`, `backward`: each alone. NaN where nothing was asked for.

    Raises
    ------
    ValueError
        If counterfactuals and problem differ in images or targets.

    References
    ----------
    Pawelczyk et al., CARLA: a Python library to benchmark algorithmic recourse and counterfactual explanation algorithms, 2021
    (arXiv:2108.00783): average time. Differs: passes, which are the same on every machine; seconds are in the table of costs.
    """

    family: ClassVar[Family] = Family.COUNTERFACTUAL
    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Pawelczyk et al., 2021 (arXiv:2108.00783)"
    scores: ClassVar[type] = Counterfactuals

    def __call__(self, problem: Problem, explanation: Counterfactuals, rng: Rng) -> Scores:
        """Score every (image, target)."""
        if explanation.asked.shape != problem.targets.shape:
            shapes = f"{tuple(explanation.asked.shape)}: expected {tuple(problem.targets.shape)}"
            raise ValueError(f"Counterfactuals.asked of shape {shapes}, as the problem's targets")
        counts = {"forward": explanation.forward, "backward": explanation.backward}
        counts = {"value": explanation.forward + explanation.backward} | counts
        return Scores({name: torch.where(explanation.asked, count.to(torch.float32), torch.nan) for name, count in counts.items()})
