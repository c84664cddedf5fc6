"""Finds what rules attached to modules (guided backpropagation, DeepLIFT, LRP) cannot see in a classifier, and would silently get wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.explainers.backward_rules import kind_of

VERSION = 2

MATRIX_PRODUCTS = frozenset({"Mm", "Bmm", "Addmm", "Addmv", "Baddbmm", "Convolution", "ConvolutionOverrideable", "MkldnnConvolution"})

PRODUCTS = MATRIX_PRODUCTS | {"Mul", "Div"}
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

OTHER_ACTIVATIONS = frozenset(
    {
        *("Gelu", "Silu", "Mish", "Elu", "Celu", "LeakyRelu", "PreluKernel", "RreluWithNoise", "Sigmoid", "LogSigmoidForward", "Tanh"),
        *("Softplus", "Hardtanh", "Hardswish", "Hardsigmoid", "Softshrink", "Hardshrink", "Threshold", "Clamp", "ClampMin", "Maximum"),
    }
)
"""Activation functions other than ReLU, or ReLU under another name."""

REWRITE = "xaibench.rewriting.modular(model) does so"


@dataclass
class Trace:
    """What one forward pass shows.

    Attributes
    ----------
    result
        The last operation.
    owners
        Title of the module that ran an operation, and whether there is a rule for it.
    watched
        Inputs and outputs of modules with a rule, and their versions at that time.
    """

    result: Any = None
    owners: dict[Any, tuple[str, bool]] = field(default_factory=dict)
    watched: list[tuple[str, Tensor, int]] = field(default_factory=list)

    def operations(self) -> Iterator[tuple[Any, str, tuple[str, bool]]]:
        """Every operation that depends on the image: itself, its name, and its owner ("", False) if none."""
        for node in _graph(self.result, {None}):
            name = re.sub(r"Backward\d*$", "", node.name()).removeprefix("torch::autograd::")
            yield node, name, self.owners.get(node, ("", False))

    def record(self, title: str, has_rule: bool) -> Any:
        """A forward hook."""

        def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
            tensors = [given for given in inputs if isinstance(given, Tensor)]
            if isinstance(output, Tensor) and tensors:
                for node in _graph(output.grad_fn, {None, *(tensor.grad_fn for tensor in tensors)}):
                    self.owners.setdefault(node, (title, has_rule))
                if has_rule:
                    self.watched += [(f"{name} of {title}", it, it._version) for name, it in (("input", tensors[0]), ("output", output))]

        return hook


def reason_against(model: nn.Module, image: Tensor, kinds: Collection[type[nn.Module]], harmless: Collection[str] = LINEAR) -> str | None:
    """Why rules attached to modules cannot explain this model, with what to change, or None.

    One forward pass on `image` (1, C, H, W). Every operation of it must be in `harmless` (by default, linear in the image), or be a
    module of one of the `kinds` for which there is a rule, not in place. A module may be used several times: each use is ruled on its own.
    """
    reason, trace = _look(model, image, kinds)
    return reason or next((reason for each in trace.operations() if (reason := _unruled(*each, harmless))), None)


def reason_against_relu_rule(model: nn.Module, image: Tensor) -> str | None:
    """Why a rule for ReLU modules cannot explain this model, with what to change, or None: other operations keep their gradients."""
    reason, trace = _look(model, image, [nn.ReLU])
    if reason is not None:
        return reason
    rectified = 0
    for _, operation, (owner, has_rule) in trace.operations():
        rectified += has_rule
        if operation == "Relu" and not has_rule:
            return _functional(operation) if not owner else f"{owner} calls relu as a function: make it an nn.ReLU(); {REWRITE}"
        if operation in OTHER_ACTIVATIONS:
            return f"the model has an activation other than ReLU ({owner or operation.lower()}), for which there is no rule"
    return None if rectified else "the model has no ReLU, where alone this method differs from the gradient"


def _look(model: nn.Module, image: Tensor, kinds: Collection[type[nn.Module]]) -> tuple[str | None, Trace]:
    """What is wrong wherever it happens, if anything, and the trace of one forward pass."""
    trace, handles = Trace(), []
    ruled = {name for name, module in model.named_modules() if kind_of(module, kinds)}
    for name, module in model.named_modules():
        if name in ruled and getattr(module, "inplace", False):
            return f"{_title(name, module)} works in place: make it with inplace=False; {REWRITE}", trace
    for name, module in model.named_modules():
        if name in ruled or not any(module.children()):
            handles.append(module.register_forward_hook(trace.record(_title(name, module), name in ruled)))
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    try:
        with torch.enable_grad():
            # Detached parameters, so that the graph holds only what depends on the image.
            trace.result = torch.func.functional_call(model, parameters, (image.detach().clone().requires_grad_(True),)).grad_fn
    finally:
        for handle in handles:
            handle.remove()
    return _altered(trace), trace


def _altered(trace: Trace) -> str | None:
    for name, tensor, version in trace.watched:
        if tensor._version != version:
            return f"the {name} is changed in place: write `y = y + x` in place of `y += x`, and make modules with inplace=False; {REWRITE}"
    return None if trace.result is not None else "the output does not depend on the image"


def _unruled(node: Any, operation: str, owner: tuple[str, bool], harmless: Collection[str]) -> str | None:
    title, has_rule = owner
    dependent = [parent is not None for parent, _ in node.next_functions]
    product = operation in PRODUCTS and (sum(dependent) > 1 or (operation == "Div" and not dependent[0]))
    if has_rule or (operation in harmless and not product):
        return None
    if product:
        return f"the model multiplies or divides activations by each other ({operation}), for which there is no rule"
    return f"there is no rule for {title}" if title else _functional(operation)


def _functional(operation: str) -> str:
    name = operation.lower()
    return f"the model calls {name} as a function: make it a module, such as nn.ReLU() for relu; where such a module exists, {REWRITE}"


def _graph(last: Any, stop: set[Any]) -> Iterator[Any]:
    """The operations from the last one back to those in `stop`, without them."""
    seen, waiting = {*stop, last}, [last] if last not in stop else []
    while waiting:
        node = waiting.pop()
        yield node
        new = {parent for parent, _ in node.next_functions} - seen
        seen |= new
        waiting.extend(new)


def _title(name: str, module: nn.Module) -> str:
    return f"{type(module).__name__} {name!r}"
