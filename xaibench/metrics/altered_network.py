"""What the axiomatic metrics share that explain a classifier of which something is known: the problem's own behind a fixed layer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xaibench.explaining import declared_passes
from xaibench.maps import check_shapes
from xaibench.metrics import reexplanation
from xaibench.problem import Explainer, Explanation, Family, Passes, Problem
from xaibench.scoring import Metric, Requires, Scores
from xaibench.seeding import Rng


class Preceded(nn.Module):
    """A classifier behind a layer. The classifier's modules keep their names, by which an explainer may ask for one."""

    def __init__(self, layer: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.add_module("layer before the classifier", layer)
        for name, child in model.named_children():
            self.add_module(name, child)
        # not registered: its modules are, and must be found once
        self.__dict__["parts"] = (layer, model)
        self.training = layer.training = False

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        layer, model = self.__dict__["parts"]
        logits: Tensor = model(layer(images))
        return logits


@dataclass(frozen=True)
class AlteredNetworkMetric(Metric):
    """Explains an altered classifier, and says by how much the maps break what they must obey: 0 is best."""

    family: ClassVar[Family] = Family.AXIOMATIC
    higher_is_better: ClassVar[bool | None] = False
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL, Requires.EXPLAINER})

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs an explainer that can explain the altered classifier."""
        reason = super().unsupported(problem, explainer)
        if reason is None:
            refused = explainer.unsupported(self.altered(problem))
            reason = refused and f"the altered classifier cannot be explained: {refused}"
        return reason

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """Those of explaining the altered classifier."""
        return declared_passes(explainer, self.altered(problem))

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        check_shapes(problem, explanation)
        found = reexplanation.explained(self.altered(problem), explanation).to(torch.float64)
        original = explanation.values.to(torch.float64)
        defined = (found.isfinite() & original.isfinite()).flatten(2).all(dim=2)
        return Scores({"value": torch.where(defined, self.error(found, original), torch.nan).to(torch.float32)})

    @abstractmethod
    def altered(self, problem: Problem) -> Problem:
        """The same images, or images made of them, for the altered classifier."""

    @abstractmethod
    def error(self, found: Tensor, original: Tensor) -> Tensor:
        """(B, T), from the maps of the altered and of the original classifier, (B, T, C or 1, H, W)."""
