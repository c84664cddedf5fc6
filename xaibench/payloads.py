"""Each kind of explanation as the tensors that the store holds, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from xaibench import explaining, searching
from xaibench.problem import Attributions, Counterfactuals, Explainer, Problem
from xaibench.seeding import Rng

Again = Callable[[Problem], Any]


def explained(explainer: Explainer[Any], problem: Problem, rng: Rng) -> Attributions | Counterfactuals:
    """The explanation of all images, of the kind that the explainer gives."""
    return (searching.searched if explainer.gives is Counterfactuals else explaining.explained)(explainer, problem, rng)


def tensors(explanation: Attributions | Counterfactuals) -> dict[str, Tensor]:
    """What is stored: `flag` (B, T), and the fields of the explanation; `completeness_error` (B, T) beside a `total`."""
    if isinstance(explanation, Counterfactuals):
        return {name: getattr(explanation, name) for name in searching.TENSORS} | {"flag": searching.flags(explanation)}
    found = {"values": explanation.values, "flag": explaining.flags(explanation)}
    if explanation.total is not None:
        found |= {"total": explanation.total, "completeness_error": explaining.completeness_error(explanation)}
    return found


def restored(stored: Mapping[str, Tensor], device: torch.device, again: Again) -> Attributions | Counterfactuals:
    """The explanation, on a device."""
    found = {name: value.to(device) for name, value in stored.items()}
    if "found" in found:
        return Counterfactuals(**{name: found[name] for name in searching.TENSORS}, again=again)
    return Attributions(found["values"], found.get("total"), again)
