"""What the counterfactual methods share that only ask the classifier for its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.problem import Problem
from xaibench.searching import CounterfactualExplainer, verdict


@dataclass(frozen=True)
class BlackBoxSearch(CounterfactualExplainer):
    """A method that needs no gradient."""

    differentiates: ClassVar[bool] = False

    def accepted(self, problem: Problem, targets: Tensor, make: Callable[..., Tensor], *columns: Tensor) -> Tensor:
        """(count,), bool: which inputs would be found, for their (count,) targets.

        Parameters
        ----------
        make
            Gives inputs from the same rows of all columns.
        columns
            (count,) each, what tells the inputs apart; a chunk goes through the classifier at once.
        """
        found = torch.zeros_like(targets, dtype=torch.bool)
        with torch.inference_mode():
            for rows in torch.arange(len(targets), device=targets.device).split(problem.chunk):
                found[rows] = verdict(problem.classifier(make(*(column[rows] for column in columns))), targets[rows], self.confidence)
        return found
