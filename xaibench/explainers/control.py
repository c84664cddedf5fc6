"""What all controls share: they look at no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.problem import Explainer, Family, Passes, Problem

VERSION = 1


@dataclass(frozen=True)
class Control(Explainer):
    """An explainer that ignores the classifier: what no method should do worse than."""

    family: ClassVar = Family.CONTROL

    def unsupported(self, problem: Problem) -> str | None:
        """Never: a control needs no model."""
        return None

    def passes(self, problem: Problem) -> Passes:
        """None."""
        return Passes()
