"""What the methods share that give every ReLU another backward rule, and are the gradient otherwise."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from xaibench import gradients
from xaibench.explainers.backward_rules import ruled
from xaibench.explainers.module_rules import reason_against_relu_rule
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng

VERSION = 1


@dataclass(frozen=True)
class ReluRule(Explainer):
    """The gradient of the explained output with a rule of its own for every ReLU."""

    family: ClassVar = Family.GRADIENT

    @staticmethod
    @abstractmethod
    def rule(module: nn.ReLU, inputs: Tensor, output: Tensor) -> Tensor:
        """See `backward_rules.Rule`."""

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: every activation must be a ReLU module, not in place."""
        return super().unsupported(problem) or reason_against_relu_rule(problem.classifier, problem.images[:1])

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each image, and one backward pass for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        with ruled(problem.classifier, {nn.ReLU: self.rule}):
            return Attributions(gradients.gradient(problem, self.output))
