"""Backward passes that follow a rule in place of the derivative: modules whose outputs keep their values and get another gradient."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

VERSION = 1

Backward = Callable[[Tensor], Tensor]
"""Takes what arrives at a value in the backward pass, and gives what goes on to its source."""

Rule = Callable[[Any, Tensor, Tensor], Tensor | None]
"""Takes a module, its input and its output; gives what stands for the output from here on, or None for the output itself."""

Rules = Mapping[type[nn.Module], Rule]


class _Substitute(torch.autograd.Function):
    """A value, with the gradient of a source."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, value: Tensor, backward: Backward) -> Tensor:
        ctx.rule = backward
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.rule(gradients[0]), None, None


def substitute(value: Tensor, source: Tensor, backward: Backward = lambda gradient: gradient) -> Tensor:
    """`value`, whose gradient goes to `source` (by way of `backward`) and nowhere else."""
    return _Substitute.apply(source, value.detach(), backward)


def kind_of(module: nn.Module, kinds: Iterable[type[nn.Module]]) -> type[nn.Module] | None:
    """Which of the classes a module is of: its own, or a base whose forward pass it has; None if it is of none."""
    return next((kind for kind in kinds if isinstance(module, kind) and type(module).forward is kind.forward), None)


@contextlib.contextmanager
def ruled(model: nn.Module, rules: Rules) -> Iterator[None]:
    """Inside, every use of a module for which there is a rule follows it; afterwards the model is as it was."""
    handles = []
    try:
        for module in model.modules():
            kind = kind_of(module, rules)
            if kind is not None:
                handles.append(module.register_forward_hook(_hook(rules[kind])))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(rule: Rule) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
    return lambda module, inputs, output: rule(module, inputs[0], output)
