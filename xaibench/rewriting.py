"""Rewrites a classifier so that rules attached to modules see everything: each nonlinear step a module of its own, nothing in place."""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from xaibench.component import UserError

VERSION = 1

POOLING = "kernel_size stride padding dilation ceil_mode return_indices"
MODULES: dict[str, tuple[type[nn.Module], str]] = {
    "relu": (nn.ReLU, "inplace"),
    "relu6": (nn.ReLU6, "inplace"),
    "hardtanh": (nn.Hardtanh, "min_val max_val inplace"),
    "leaky_relu": (nn.LeakyReLU, "negative_slope inplace"),
    "elu": (nn.ELU, "alpha inplace"),
    "celu": (nn.CELU, "alpha inplace"),
    "selu": (nn.SELU, "inplace"),
    "gelu": (nn.GELU, "approximate"),
    "silu": (nn.SiLU, "inplace"),
    "mish": (nn.Mish, "inplace"),
    "sigmoid": (nn.Sigmoid, ""),
    "logsigmoid": (nn.LogSigmoid, ""),
    "tanh": (nn.Tanh, ""),
    "softplus": (nn.Softplus, "beta threshold"),
    "softsign": (nn.Softsign, ""),
    "tanhshrink": (nn.Tanhshrink, ""),
    "hardswish": (nn.Hardswish, "inplace"),
    "hardsigmoid": (nn.Hardsigmoid, "inplace"),
    "softmax": (nn.Softmax, "dim"),
    "log_softmax": (nn.LogSoftmax, "dim"),
    "max_pool2d": (nn.MaxPool2d, POOLING),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d, "output_size return_indices"),
}
"""Functions and tensor methods, the modules that do the same, and the names of their arguments after the tensor."""

ARITHMETIC = {
    "iadd": operator.add,
    "isub": operator.sub,
    "imul": operator.mul,
    "itruediv": operator.truediv,
    **{f"{name}_": getattr(torch, name) for name in ("add", "sub", "mul", "div")},
}
"""Arithmetic that works in place, and what does not."""

ALIASES = {
    *(
        "view",
        "view_as",
        "reshape",
        "reshape_as",
        "flatten",
        "unflatten",
        "ravel",
        "transpose",
        "swapaxes",
        "permute",
        "movedim",
        "squeeze",
    ),
    *(
        "unsqueeze",
        "expand",
        "expand_as",
        "getitem",
        "getattr",
        "select",
        "narrow",
        "chunk",
        "split",
        "unbind",
        "contiguous",
        "to",
        "float",
    ),
    *("type_as", "detach"),
}
ALIAS_MODULES = (nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout2d)
"""What may give a tensor that shares its memory with the one it was given."""


class _Proxy(fx.Proxy):
    """Records `y += x` as what it is: torch.fx takes it for `y = y + x`, which differs where `y` has a second name."""

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_arg(self, a: Any) -> Any:
        """NumPy's numbers become Python's: torch.fx writes an argument into code as its repr, which since NumPy 2 is `np.float32(0.5)`."""
        return super().create_arg(a.item() if isinstance(a, np.generic) else a)


def modular(model: nn.Module) -> fx.GraphModule:
    """A copy of a classifier with the same outputs and parameter names, for methods whose rules are attached to modules.

    Every activation and max-pooling called as a function or tensor method becomes a module; a module without parameters that is used
    several times gets a copy for each further use; nothing works in place.

    Parameters
    ----------
    model
        Left as it is.

    Returns
    -------
    torch.fx.GraphModule
        In eval mode.

    Raises
    ------
    UserError
        If torch.fx cannot trace the model (its control flow depends on the image), or it changes part of a tensor in place.
    """
    network = copy.deepcopy(model).eval()
    try:
        traced = fx.GraphModule(network, _Tracer().trace(network))
    except Exception as error:
        raise UserError(
            f"{type(model).__name__} cannot be rewritten: expected a forward pass that torch.fx can trace, with no control flow that "
            "depends on the image and no assignment into a part of a tensor; write it with modules such as nn.ReLU() by hand "
            f"({type(error).__name__}: {error})"
        ) from error
    for node in list(traced.graph.nodes):
        in_place = _in_place(traced, node)
        _make_module(traced, node)
        if in_place:
            _make_pure(traced, node)
    _make_unique(traced)
    traced.graph.lint()
    traced.recompile()
    return traced.eval()


def _make_module(traced: fx.GraphModule, node: fx.Node) -> None:
    """A call of a known function, or method, becomes a call of a module."""
    module, names = MODULES.get(_function(node).removesuffix("_"), (None, ""))
    if module is None:
        return
    arguments = dict(zip(names.split(), node.args[1:], strict=False)) | dict(node.kwargs)
    # An empty stride is how the function says "as the window"; without `inplace` a module is not in place.
    given = {
        name: value for name, value in arguments.items() if name not in ("input", "inplace", "_stacklevel") and value not in (None, [], ())
    }
    if not set(given) <= set(names.split()) or any(isinstance(value, fx.Node) for value in given.values()):
        return
    name = f"{node.name}_module"
    traced.add_submodule(name, module(**given))
    source = node.args[0] if node.args else node.kwargs["input"]
    node.op, node.target, node.args, node.kwargs = "call_module", name, (source,), {}


def _make_pure(traced: fx.GraphModule, node: fx.Node) -> None:
    """A step that changed its first argument gives a new tensor, which takes the argument's place from then on."""
    changed = node.args[0]
    assert isinstance(changed, fx.Node)
    later = set(_after(node))
    for other in _aliases(traced, changed):
        if other is not changed and other is not node and later & set(other.users):
            raise UserError(
                f"{node.name} changes {changed.name} in place, and with it {other.name}: write `y = y + x` in place of `y += x`"
            )
    if node.op == "call_module":
        module: Any = traced.get_submodule(str(node.target))
        module.inplace = False
    elif _function(node) in ARITHMETIC:
        node.op, node.target = "call_function", ARITHMETIC[_function(node)]
    else:
        raise UserError(f"{node.name} works in place: expected arguments that a module takes, or the function that makes a new tensor")
    changed.replace_all_uses_with(node, delete_user_cb=lambda user: user in later)


def _make_unique(traced: fx.GraphModule) -> None:
    """Every further use of a module without parameters gets a copy."""
    uses: Counter[int] = Counter()
    for node in traced.graph.nodes:
        if node.op == "call_module":
            module = traced.get_submodule(node.target)
            uses[id(module)] += 1
            if uses[id(module)] > 1 and not any(True for _ in module.parameters()):
                node.target = f"{node.name}_module"
                traced.add_submodule(node.target, copy.deepcopy(module))


def _in_place(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(traced.get_submodule(str(node.target)), "inplace", False))
    name = _function(node)
    if name in MODULES:
        return bool((dict(zip(MODULES[name][1].split(), node.args[1:], strict=False)) | node.kwargs).get("inplace"))
    # Tensor methods and functions of torch that end in one underscore work in place; those of `operator`, such as and_, do not.
    underscored = name.endswith("_") and not name.endswith("__") and getattr(node.target, "__module__", "") != "_operator"
    if underscored and name not in ARITHMETIC and name[:-1] not in MODULES:
        raise UserError(f"{node.name} changes a tensor in place ({name}): expected a forward pass that makes new tensors")
    return name in ARITHMETIC or underscored


def _function(node: fx.Node) -> str:
    """The name of a function or method that a node calls, or ""."""
    if node.op == "call_function":
        return str(getattr(node.target, "__name__", ""))
    return str(node.target) if node.op == "call_method" else ""


def _after(node: fx.Node) -> Iterator[fx.Node]:
    while (node := node.next).op != "root":
        yield node


def _aliases(traced: fx.GraphModule, node: fx.Node) -> set[fx.Node]:
    """The tensors that may share a tensor's memory, itself included."""
    found, waiting = {node}, [node]
    while waiting:
        current = waiting.pop()
        near = [user for user in current.users if _is_alias(traced, user)]
        near += [source for source in current.all_input_nodes if _is_alias(traced, current)]
        waiting += [other for other in near if other not in found]
        found |= set(near)
    return found


def _is_alias(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), ALIAS_MODULES)
    return _function(node) in ALIASES
