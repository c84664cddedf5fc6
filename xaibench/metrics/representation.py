"""A classifier's representation of images: what enters its last linear layer, or what a module that is named gives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from xaibench import perturb
from xaibench.problem import Problem

VERSION = 1


def layer_of(classifier: nn.Module, name: str = "") -> nn.Module | None:
    """The module of this name, or, without a name, the last linear layer; None where there is none."""
    modules = dict(classifier.named_modules())
    linear = [module for module in modules.values() if isinstance(module, nn.Linear)]
    return modules.get(name) if name else linear[-1] if linear else None


@contextlib.contextmanager
def recording(classifier: nn.Module, name: str = "") -> Iterator[list[Tensor]]:
    """A list that gets the representations (n, D) of each chunk of images that goes through the classifier.

    Raises
    ------
    ValueError
        If there is no such layer.
    """
    place = layer_of(classifier, name)
    if place is None:
        raise ValueError(f"layer {name!r}: expected {'a module' if name else 'a linear layer'} of the classifier")
    record: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        record.append((output if name else inputs[0]).flatten(1).clone())

    handle = place.register_forward_hook(keep)
    try:
        yield record
    finally:
        handle.remove()


def representations(problem: Problem, count: int, make: Callable[[Tensor], Tensor]) -> Tensor:
    """(count, D): the representations of inputs that `make` gives, chunk by chunk, from their positions 0 ... count - 1; at least one."""
    with recording(problem.classifier) as record:
        perturb.logits(problem, count, make)
    return torch.cat(record)
