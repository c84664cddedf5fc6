"""Finds what rules attached to modules (DeepLIFT and its kin) cannot see in a classifier, and would silently get wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

VERSION = 1

PRODUCTS = {"Mul", "Div", "Mm", "Bmm", "Addmm", "Addmv", "Baddbmm", "Convolution", "ConvolutionOverrideable", "MkldnnConvolution"}
"""Operations, as autograd names them, that are linear in the image as long as only one operand depends on it."""

LINEAR = PRODUCTS | {
    *("Add", "Sub", "Neg", "Mean", "Sum", "AvgPool2D", "AdaptiveAvgPool2D", "MkldnnAdaptiveAvgPool2D"),
    *("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"),
    *("UpsampleBilinear2D", "UpsampleNearest2D", "ReflectionPad2D", "ReplicationPad2D", "ConstantPadNd"),
    *("View", "ReshapeAlias", "UnsafeView", "T", "Transpose", "Permute", "Expand", "Repeat", "Unsqueeze", "Squeeze", "AsStrided"),
    *("Slice", "Select", "Split", "SplitWithSizes", "Unbind", "Cat", "Stack", "Index", "IndexSelect", "Gather", "Flip", "Roll"),
    *("PixelShuffle", "PixelUnshuffle", "Clone", "ToCopy", "Alias", "AccumulateGrad"),
}
"""Operations that are linear in the image, products included."""


def reason_against(model: nn.Module, image: Tensor, rules: frozenset[str]) -> str | None:
    """Why rules attached to modules cannot explain this model, with what to change, or None.

    One forward pass on `image` (1, C, H, W). Every operation of it must be linear in the image, or be a module of its own, used once and
    not in place, whose class name is in `rules`.
    """
    for name, module in model.named_modules():
        if getattr(module, "inplace", False):
            return f"{_title(name, module)} works in place: make it with inplace=False"
    calls: Counter[str] = Counter()
    owners: dict[Any, str] = {}
    outputs: list[tuple[str, Tensor, int]] = []
    handles = []
    for name, module in model.named_modules():
        if not any(module.children()):
            handles.append(module.register_forward_hook(_recorder(_title(name, module), calls, owners, outputs)))
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    try:
        with torch.enable_grad():
            # Detached parameters, so that the graph holds only what depends on the image.
            result = torch.func.functional_call(model, parameters, (image.detach().clone().requires_grad_(True),))
    finally:
        for handle in handles:
            handle.remove()
    return _repeated(calls, rules) or _altered(outputs) or _unruled(result.grad_fn, owners, rules)


def _recorder(title: str, calls: Counter[str], owners: dict[Any, str], outputs: list[tuple[str, Tensor, int]]) -> Any:
    def record(_module: nn.Module, inputs: Any, output: Any) -> None:
        calls[title] += 1
        if isinstance(output, Tensor) and inputs and isinstance(inputs[0], Tensor):
            outputs.append((title, output, output._version))
            if output.grad_fn is not inputs[0].grad_fn:  # a module that does nothing owns no operation
                owners[output.grad_fn] = title

    return record


def _repeated(calls: Counter[str], rules: frozenset[str]) -> str | None:
    for title, count in calls.items():
        if count > 1 and _class(title) in rules:
            return f"{title} is used {count} times: give every use a module of its own"
    return None


def _altered(outputs: list[tuple[str, Tensor, int]]) -> str | None:
    for title, output, version in outputs:
        if output._version != version:
            return f"the output of {title} is changed in place: write `y = y + x` in place of `y += x`"
    return None


def _unruled(result: Any, owners: dict[Any, str], rules: frozenset[str]) -> str | None:
    for node in _graph(result):
        operation = re.sub(r"Backward\d*$", "", node.name()).removeprefix("torch::autograd::")
        owner = owners.get(node)
        if owner is not None and _class(owner) in rules:
            continue
        dependent = [parent is not None for parent, _ in node.next_functions]
        product = operation in PRODUCTS and (sum(dependent) > 1 or (operation == "Div" and not dependent[0]))
        if operation in LINEAR and not product:
            continue
        if owner is not None and not product:
            return f"there is no rule for {owner}"
        if product:
            return f"the model multiplies or divides activations by each other ({operation}), for which there is no rule"
        return f"the model calls {operation.lower()} as a function: make it a module of its own, such as nn.ReLU(), for each use"
    return None


def _graph(result: Any) -> Iterator[Any]:
    seen, waiting = {result}, [result]
    while waiting:
        node = waiting.pop()
        yield node
        new = {parent for parent, _ in node.next_functions if parent is not None} - seen
        seen |= new
        waiting.extend(new)


def _title(name: str, module: nn.Module) -> str:
    return f"{type(module).__name__} {name!r}"


def _class(title: str) -> str:
    return title.split(" ", 1)[0]
