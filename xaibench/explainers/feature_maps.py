"""The class-activation family's common part: finding the layer, recording its maps and their gradients, and upsampling."""

from __future__ import annotations

import contextlib
import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from xaibench import gradients
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem, select
from xaibench.seeding import Rng

VERSION = 1

ACTIVATIONS = {"Relu", "Hardtanh", "LeakyRelu", "PreluKernel", "Elu", "Gelu", "Silu", "Mish", "Softplus", "Hardswish", "Sigmoid", "Tanh"}
PASSED = {"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "MaxPool2DWithIndices", "AvgPool2D", "Add", "Cat"}
"""Operations, as autograd names them, that make an activation, and that may stand between a convolution and its activation."""

MODULAR = "give every use a module of its own (xaibench.rewriting.modular(model) does so), or name a layer"

FLAT = 1e-5
"""Values whose range is below this share of the largest are taken for equal: what differs is rounding, and must not be stretched."""


@dataclass(frozen=True)
class Layer:
    """The module whose output holds the feature maps (N, channels, height, width)."""

    module: nn.Module
    channels: int


@dataclass(frozen=True)
class ClassActivation(Explainer):
    """A method whose maps are made of a layer's feature maps.

    Parameters
    ----------
    layer
        Name of the module (as in `named_modules`) whose output holds the feature maps. None finds the deepest `nn.Conv2d` whose maps are
        larger than 1 x 1 (the one with the most convolutions on the longest way from the image to it, and among equals the one called
        last, so never the projection beside a residual block), and takes the maps of the activation function that follows it,
        directly or after batch normalization, pooling or the sum of a residual block; its own where none follows. Finding it takes one
        forward pass.
    """

    family: ClassVar = Family.ACTIVATION

    layer: str | None = None

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: it needs feature maps larger than 1 x 1."""
        reason = super().unsupported(problem)
        if reason is not None:
            return reason
        found = find(problem, self.layer)
        return found if isinstance(found, str) else None

    def located(self, problem: Problem) -> Layer:
        """The layer; ValueError with the reason if there is none."""
        found = find(problem, self.layer)
        if isinstance(found, str):
            raise ValueError(f"{type(self).__name__}.layer={self.layer!r}: {found}")
        return found


@dataclass(frozen=True)
class GradientActivation(ClassActivation):
    """Feature maps and the explained output's gradients with respect to them become one map by a formula."""

    @abstractmethod
    def combine(self, maps: Tensor, gradient: Tensor) -> Tensor:
        """(n, h, w), from the feature maps (n, K, h, w) and the gradient of the explained output, of the same shape."""

    def passes(self, problem: Problem) -> Passes:
        """Forward once for each image, and once to find the layer; backward once for each (image, target)."""
        return gradients.gradient_passes(problem, 1) + Passes(forward=1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        module = self.located(problem).module
        return Attributions(torch.cat([self._chunk(part, module) for part in parts(problem)]))

    def _chunk(self, problem: Problem, module: nn.Module) -> Tensor:
        targets = problem.targets.shape[1]
        coarse = []
        with torch.enable_grad(), recorded(module) as maps:
            explained = select(problem.classifier(problem.images), problem.targets, self.output)
            for target in range(targets):
                (gradient,) = torch.autograd.grad(explained[:, target].sum(), maps[0], retain_graph=target + 1 < targets)
                coarse.append(self.combine(maps[0].detach(), gradient))
        return upsampled(torch.stack(coarse, 1)[:, :, None], problem)


@dataclass(frozen=True)
class WeightedActivation(ClassActivation):
    """The feature maps' positive parts are summed with weights, each of which takes a forward pass; negative parts of the sum are cut.

    Before a ReLU a map's positive part is what the network goes on with. The sum of signed maps is below 0 everywhere, and so the result
    all zero, for many images of trained networks.
    """

    @abstractmethod
    def weights(self, problem: Problem, module: nn.Module, maps: Tensor, explained: Tensor) -> Tensor:
        """(n, T, K), by n K forward passes, from the maps' positive parts (n, K, h, w) and the explained outputs (n, T) at the images."""

    def passes(self, problem: Problem) -> Passes:
        """Forward, for each image, once and once for each channel, and once to find the layer; all targets share them."""
        return Passes(forward=1 + len(problem.images) * (1 + self.located(problem).channels))

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        module = self.located(problem).module
        return Attributions(torch.cat([self._chunk(part, module) for part in parts(problem)]))

    def _chunk(self, problem: Problem, module: nn.Module) -> Tensor:
        with torch.no_grad(), recorded(module) as maps:
            explained = select(problem.classifier(problem.images), problem.targets, self.output)
        positive = maps[0].relu()
        weights = self.weights(problem, module, positive, explained)
        return upsampled(torch.einsum("ntk,nkhw->nthw", weights, positive).relu()[:, :, None], problem)


def parts(problem: Problem) -> Iterator[Problem]:
    """The problem in parts of at most `problem.chunk` images."""
    return (problem.take(slice(start, start + problem.chunk)) for start in range(0, len(problem.images), problem.chunk))


def upsampled(coarse: Tensor, problem: Problem) -> Tensor:
    """(..., h, w) to (..., H, W), the images' size, bilinearly (`align_corners=False`)."""
    rows, columns = (
        functional.interpolate(torch.eye(length, device=coarse.device)[None], size=size, mode="linear")[0]
        for length, size in zip(coarse.shape[-2:], problem.images.shape[-2:], strict=True)
    )
    # Two products with the interpolation's matrices take a tenth of interpolate's time on many small maps.
    return rows.T @ (coarse @ columns)


@contextlib.contextmanager
def recorded(module: nn.Module) -> Iterator[list[Tensor]]:
    """The module's output, once it is called. Under gradients it is a leaf, so nothing before it is differentiated."""
    found: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        found.append(output.detach().requires_grad_(torch.is_grad_enabled()))
        # A copy goes on: the module that follows may work in place.
        return found[-1].clone()

    handle = module.register_forward_hook(cut)
    try:
        yield found
    finally:
        handle.remove()


def find(problem: Problem, name: str | None) -> Layer | str:
    """The layer of this name, or that of the deepest convolution (see `ClassActivation`), by one forward pass; or why there is none."""
    modules = dict(problem.classifier.named_modules())
    convolutions: dict[str, nn.Module] = {key: module for key, module in modules.items() if isinstance(module, nn.Conv2d)}
    if name is not None and name not in modules:
        return f"the model has no layer {name!r}; its 2D convolutions are {', '.join(map(repr, convolutions)) or 'none'}"
    if name is None and not convolutions:
        return "the model has no 2D convolution"
    leaves = {key: module for key, module in modules.items() if not any(module.children())}
    candidates = leaves if name is None else {name: modules[name]}
    result, calls = _called(problem, candidates)
    if name is None:
        deepest = _deepest(result, [call for call in calls if call.name in convolutions])
        if deepest is None:
            return "the model has no 2D convolution on which its output depends and whose maps are larger than 1 x 1"
        activation = _activation(result, deepest)
        owner = {call.node: call for call in calls}.get(activation, deepest)
        if activation is not None and owner is deepest:
            return f"what activates the maps of {deepest.name!r} is no module: {MODULAR}"
        name = owner.name
    shapes = [call.shape for call in calls if call.name == name]
    if len(shapes) != 1:
        return f"layer {name!r} is called {len(shapes)} times: {MODULAR}"
    if len(shapes[0]) != 4:
        return f"layer {name!r} gives no feature maps (N, K, H, W)"
    if max(shapes[0][2:]) == 1:
        return f"the feature maps of layer {name!r} are 1 x 1: there is nothing to locate"
    return Layer(candidates[name], shapes[0][1])


@dataclass(frozen=True)
class _Call:
    """A module's name, and its output's shape, () for what is no tensor, and node in the graph of autograd."""

    name: str
    shape: tuple[int, ...]
    node: Any


def _called(problem: Problem, modules: dict[str, nn.Module]) -> tuple[Tensor, list[_Call]]:
    """The logits of one image, and these modules' calls in their order."""
    calls: list[_Call] = []

    def record(name: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            calls.append(_Call(name, tuple(getattr(output, "shape", ())), getattr(output, "grad_fn", None)))

        return note

    handles = [module.register_forward_hook(record(name)) for name, module in modules.items()]
    try:
        with torch.enable_grad():
            return problem.classifier(problem.images[:1].detach().clone().requires_grad_(True)), calls
    finally:
        for handle in handles:
            handle.remove()


def _deepest(result: Tensor, calls: list[_Call]) -> _Call | None:
    """Of the calls that gave maps larger than 1 x 1, that with most calls on the longest way to it; the last of equals."""
    nodes = {call.node for call in calls}
    depth: dict[Any, int] = {}
    waiting: list[Any] = [result.grad_fn]
    while waiting:
        parents = _parents(waiting[-1])
        new = [parent for parent in parents if parent not in depth]
        waiting += new
        if not new:
            node = waiting.pop()
            depth[node] = max((depth[parent] for parent in parents), default=0) + (node in nodes)
    ranked = [(depth[call.node], order) for order, call in enumerate(calls) if call.node in depth and max(call.shape[2:]) > 1]
    return calls[max(ranked)[1]] if ranked else None


def _activation(result: Tensor, convolution: _Call) -> Any:
    """The operation that activates a convolution's maps, or None: the first after it, with nothing but `PASSED` between."""
    children: dict[Any, list[Any]] = {}
    waiting, seen = [result.grad_fn], {result.grad_fn}
    while waiting:
        node = waiting.pop()
        for parent in _parents(node):
            children.setdefault(parent, []).append(node)
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    following = children.get(convolution.node, [])
    while following:
        operations = [re.sub(r"Backward\d*$", "", node.name()) for node in following]
        found = [node for node, operation in zip(following, operations, strict=True) if operation in ACTIVATIONS]
        if found:
            return found[0]
        passed = [node for node, operation in zip(following, operations, strict=True) if operation in PASSED]
        following = [child for node in passed for child in children.get(node, [])]
    return None


def _parents(node: Any) -> list[Any]:
    return [parent for parent, _ in node.next_functions if parent is not None]
