"""DeepLIFT's rescale rule for pairs of an image and a reference, with an exact rule for max-pooling: the engine of DeepLIFT and Deep SHAP.

One backward pass carries multipliers in place of derivatives: at a nonlinear module, the difference of its outputs over the difference
of its inputs. Image minus reference, times the multiplier that arrives at the input, is what an input value contributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xaibench.explainers.backward_rules import Backward, Rules, ruled, substitute
from xaibench.explainers.completeness import difference_passes, output_difference
from xaibench.problem import Attributions, Output, Passes, Problem

VERSION = 1

ELEMENTWISE: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Tanhshrink, nn.Hardswish, nn.Hardsigmoid),
)
POOLING: tuple[type[nn.Module], ...] = (nn.MaxPool2d, nn.AdaptiveMaxPool2d)
KINDS = ELEMENTWISE + POOLING

SOFTMAX_NODES = 50
"""Points of each panel of the Gauss-Legendre quadrature through softmax: its error is 6e-8 where the difference of two logits changes by
30 within the panel, but 1e-3 for 60."""
PANEL = 20.0
"""The most by which the difference of two logits changes within a panel."""
MOST_PANELS = 1000
"""Bounds the time: where the difference of two logits changes by more than 20,000, it changes by more than `PANEL` within a panel."""

NEAR = 1e-4
"""Differences of inputs below this share of the magnitudes of inputs and outputs are drowned by rounding: there the derivative stands in.

Near zero, where ReLU and its kin bend, the difference across the bend is as large as the magnitudes: the derivative is never taken there.
"""


@dataclass(frozen=True)
class Use:
    """What went into a nonlinear module and what came out, and, of max-pooling, where each maximum lay (else None)."""

    inputs: Tensor
    outputs: Tensor
    winners: Tensor | None


def explained(problem: Problem, references: Tensor, output: Output) -> Attributions:
    """What each input value contributes to the change of the output from the references to the image.

    Parameters
    ----------
    problem
        Its images meet every reference, in chunks of about `problem.chunk` pairs: forward once, and back once for each target.
    references
        (M, C, H, W); one chunk of them has its activations in memory at a time.
    output
        Of a probability or log-probability, softmax is integrated along the straight line between the logits (`_starts`).

    Returns
    -------
    Attributions
        `values`: (B, T, C, H, W), the mean over the references. `total`: (B, T).
    """
    model, images, targets = problem.classifier, problem.images, problem.targets
    values = images.new_zeros(*targets.shape, *images.shape[1:])
    for group in references.split(problem.chunk):
        uses: list[Use] = []
        with torch.no_grad(), ruled(model, _recording(uses)):
            group_logits = model(group)
        for rows in torch.arange(len(images), device=images.device).split(max(problem.chunk // len(group), 1)):
            pairs = images[rows].repeat_interleave(len(group), 0).requires_grad_(True)
            with torch.enable_grad():
                with ruled(model, _comparing(iter(uses))):
                    logits = model(pairs)
                starts = _starts(logits.detach(), group_logits.repeat(len(rows), 1), targets[rows].repeat_interleave(len(group), 0), output)
                difference = images[rows, None] - group
                for target, start in enumerate(starts.unbind(1)):
                    (multipliers,) = torch.autograd.grad(logits, pairs, start, retain_graph=target + 1 < targets.shape[1])
                    values[rows, target] += (multipliers.view_as(difference) * difference).sum(1)
    return Attributions(values / len(references), output_difference(problem, references, output))


def passes(problem: Problem, references: int) -> Passes:
    """The passes of `explained`: those of all pairs, forward for the references, and those of the total."""
    images, targets = problem.targets.shape
    pairs = images * references
    return Passes(pairs + references, pairs * targets) + difference_passes(problem, references)


def _starts(logits: Tensor, references: Tensor, targets: Tensor, output: Output) -> Tensor:
    """(n, T, K): the multipliers of all logits (n, K) with which each target's backward pass starts.

    A probability or log-probability is the mean of its gradient along the straight line from the references' logits to ours, which is
    complete and bounded; the rescale rule on softmax, one output's difference over one logit's, is not bounded.
    """
    chosen = functional.one_hot(targets, logits.shape[1]).to(logits)
    if output == "logit":
        return chosen
    found = chosen if output == "log_probability" else torch.zeros_like(chosen)
    for along, weights in _softmax_panels(logits, references):
        if output == "log_probability":
            found = found - torch.einsum("q,qnk->nk", weights, along)[:, None]
        else:
            share = weights[:, None, None] * along.gather(2, targets.expand(len(along), -1, -1))
            found = found + (chosen * share.sum(0)[:, :, None] - torch.einsum("qnt,qnk->ntk", share, along))
    return found


def _softmax_panels(logits: Tensor, references: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Softmax at points of the line between logits (n, K), (q, n, K), and their weights (q,), one panel at a time: the memory of one.

    The pair whose logits change most sets the number of panels for all. An image beside it gets more than it needs: for its result, which
    is exact with its own, they are another rounding.
    """
    change = logits - references
    largest = float((change.amax(1) - change.amin(1)).amax())
    panels = min(max(math.ceil(largest / PANEL), 1), MOST_PANELS) if math.isfinite(largest) else 1
    nodes, weights = (torch.from_numpy(part).to(logits) for part in np.polynomial.legendre.leggauss(SOFTMAX_NODES))
    for panel in range(panels):
        places = (panel + (nodes + 1) / 2) / panels
        yield torch.lerp(references, logits, places[:, None, None]).softmax(2), weights / (2 * panels)


def _recording(uses: list[Use]) -> Rules:
    """Rules that change nothing, and note every use in turn."""

    def record(module: nn.Module, inputs: Tensor, output: Tensor) -> None:
        uses.append(_use(module, inputs, output))

    return dict.fromkeys(KINDS, record)


def _comparing(references: Iterator[Use]) -> Rules:
    """Rules that compare every use with that of the references in the same place of the forward pass."""

    def compare(module: nn.Module, inputs: Tensor, output: Tensor) -> Tensor:
        with torch.no_grad():
            use, reference = _use(module, inputs, output), next(references)
            backward = _elementwise(module, use, reference) if use.winners is None else _pooling(module, use, reference)
        return substitute(output, inputs, backward)

    return dict.fromkeys(KINDS, compare)


def _use(module: nn.Module, inputs: Tensor, output: Tensor) -> Use:
    inputs, winners = inputs.detach(), None
    if isinstance(module, nn.MaxPool2d):
        _, winners = functional.max_pool2d(inputs, *_windows(module), return_indices=True)
    elif isinstance(module, nn.AdaptiveMaxPool2d):
        _, winners = functional.adaptive_max_pool2d_with_indices(inputs, module.output_size)
    return Use(inputs, output.detach(), winners)


def _windows(module: nn.MaxPool2d) -> tuple[Any, ...]:
    return module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode


def _beside(values: Tensor, references: Tensor) -> Tensor:
    """(b m, ...) to (b, m, ...), which broadcasts with the (m, ...) of the references."""
    return values.unflatten(0, (-1, len(references)))


def _elementwise(module: nn.Module, use: Use, reference: Use) -> Backward:
    """The difference of outputs over the difference of inputs; the derivative half-way where both are nearly the same."""
    x, y = _beside(use.inputs, reference.inputs), _beside(use.outputs, reference.outputs)
    dx, dy = x - reference.inputs, y - reference.outputs
    if isinstance(module, nn.ReLU):  # the difference of outputs has no rounding, so only 0 / 0 is left
        multipliers = torch.where(dx == 0, y > 0, dy.div_(dx)).flatten(0, 1)
        return lambda gradient: gradient * multipliers
    scale = x.abs() + y.abs() + (reference.inputs.abs() + reference.outputs.abs())
    near = dx.abs() <= (0.0 if isinstance(module, nn.Hardtanh) else NEAR) * scale
    multipliers = torch.where(near, _derivative(module, x - dx / 2), dy / dx).flatten(0, 1)
    return lambda gradient: gradient * multipliers


def _derivative(module: nn.Module, points: Tensor) -> Tensor:
    """Of an elementwise module at points (b, m, ...)."""
    with torch.enable_grad():
        flat = points.flatten(0, 1).requires_grad_(True)
        (derivative,) = torch.autograd.grad(module.forward(flat).sum(), flat)
    return derivative.view_as(points)


def _pooling(module: nn.Module, use: Use, reference: Use) -> Backward:
    """The whole difference of the maxima goes to one place: where the larger one lies, of image and reference.

    There the inputs differ by at least as much and in the same direction, so the multiplier lies in [0, 1]. The sum over the windows is
    complete, whether they overlap or not; where they do not, this is what shap's DeepExplainer does.
    """
    assert use.winners is not None
    assert reference.winners is not None
    x, b = _beside(use.inputs, reference.inputs), reference.inputs
    y, c = _beside(use.outputs, reference.outputs), reference.outputs
    places = torch.where(y >= c, _beside(use.winners, reference.winners), reference.winners)
    flat = places.flatten(-2)
    change = (x.flatten(-2).gather(-1, flat) - b.flatten(-2).expand(len(x), *[-1] * 3).gather(-1, flat)).view(places.shape)
    multipliers = torch.where(change == 0, 1.0, (y - c) / change).flatten(0, 1)
    return lambda gradient: _sent_to(module, places.flatten(0, 1), gradient * multipliers, use.inputs)


def _sent_to(module: nn.Module, places: Tensor, values: Tensor, like: Tensor) -> Tensor:
    """Every value at its place in the input, added up; the operators are those of the derivative, which keep the memory format."""
    if isinstance(module, nn.MaxPool2d):
        kernel, stride, padding, dilation = (nn.modules.utils._pair(size) for size in _windows(module)[:4])
        return torch.ops.aten.max_pool2d_with_indices_backward(values, like, kernel, stride, padding, dilation, module.ceil_mode, places)
    return torch.ops.aten.adaptive_max_pool2d_backward(values, like, places)
