"""FullGrad."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from xaibench import gradients
from xaibench.explainers.feature_maps import FLAT, parts, upsampled
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng

STRETCH = 8.0
"""How far the inputs of a test of linearity lie apart; a power of two, so that linear layers pass it without rounding."""

PROBES = 16
"""Made-up images on which it is tried whether the parts add up."""


@dataclass(frozen=True)
class FullGrad(Explainer):
    """Where the parts lie that the output is the sum of, in any direction: input x gradient and every spatial layer's bias x gradient.

    In a network of linear layers, ReLU and max-pooling the output is exactly the sum of input x gradient and of bias x gradient over all
    layers' positions (`terms`). A bias is what a layer gives for an input of zeros: also that of batch normalization in eval mode and of
    input normalization. The map is the sum over the input and the layers with maps (N, K, h, w) of the parts' absolute value,
    stretched to [0, 1] over all channels and positions of the layer, summed over its channels and upsampled bilinearly
    (`align_corners=False`). Biases of dense layers have no place in it.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), not negative, without unit; at most the number of the input's and the layers' channels. No completeness: what is
        stretched does not add up.

    References
    ----------
    Srinivas and Fleuret, Full-gradient representation for neural network visualization, NeurIPS 2019 (arXiv:1905.00780): the
    decomposition of section 3, the map of section 4. Differs: a layer's channels are stretched together, as in the authors' code; the
    paper's formula stretches each by itself, and so counts the weakest as much as the strongest. Upsampling does not align corners.
    """

    family: ClassVar = Family.GRADIENT
    paper: ClassVar = "Srinivas and Fleuret, 2019 (arXiv:1905.00780)"

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: the output must be the sum of its parts."""
        reason = super().unsupported(problem)
        if reason is None and self.output != "logit":
            reason = f"the {self.output} is not piecewise linear in the image, so it is not the sum of its parts; explain the logit"
        return reason or _not_additive(problem)

    def passes(self, problem: Problem) -> Passes:
        """Forward once for each image, backward once for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        return Attributions(torch.cat([_maps(part) for part in parts(problem)]))


def _maps(problem: Problem) -> Tensor:
    """(n, T, 1, H, W): the maps of a part of the images."""
    found = []
    for every in terms(problem):
        stretched = (upsampled(_stretched(term), problem) for term in every if term.dim() == 4)
        found.append(functools.reduce(torch.add, stretched))
    return torch.stack(found, dim=1)


def _stretched(term: Tensor) -> Tensor:
    """(n, 1, h, w): absolute values, stretched to [0, 1] for each image, and summed over channels. The term is overwritten."""
    size = term.abs_()
    lowest, highest = size.amin((1, 2, 3), keepdim=True), size.amax((1, 2, 3), keepdim=True)
    scale = (highest - lowest).reciprocal().masked_fill(highest - lowest <= FLAT * highest, 0.0)
    return (size.sum(1, keepdim=True) - term.shape[1] * lowest) * scale


def terms(problem: Problem) -> Iterator[list[Tensor]]:
    """For each target in turn the parts of its logit: input x gradient (n, C, H, W), then bias x gradient of every layer, (n, ...)."""
    images, targets = problem.images.detach().clone().requires_grad_(True), problem.targets.shape[1]
    with torch.enable_grad(), _biases(problem.classifier) as biases:
        explained = problem.classifier(images).gather(1, problem.targets).sum(0).unbind()
    edges = [get_gradient_edge(images), *(edge for edge, _ in biases)]
    factors = [images.detach(), *(bias for _, bias in biases)]
    for target, output in enumerate(explained):
        found = torch.autograd.grad(output, edges, retain_graph=target + 1 < targets, allow_unused=True)
        yield [gradient * factor for gradient, factor in zip(found, factors, strict=True) if gradient is not None]


@contextlib.contextmanager
def _biases(model: nn.Module) -> Iterator[list[tuple[GradientEdge, Tensor]]]:
    """Of every call of a module without children that has a bias: where its output enters the graph, and the bias (1, ...)."""
    found: list[tuple[GradientEdge, Tensor]] = []

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            bias = _apply(module, [torch.zeros_like(value[:1]) if isinstance(value, Tensor) else value for value in inputs])
            if bias.any():
                # The edge and not the output, which the next module may change in place.
                found.append((get_gradient_edge(output), bias))

    with _hooked(model, record):
        yield found


def _not_additive(problem: Problem) -> str | None:
    """Why the output is not the sum of its parts, or None: tried on made-up images, module by module and as a whole."""
    wrong: list[str] = []
    generator = torch.Generator().manual_seed(0)
    names = {module: f"{type(module).__name__} {name!r}" for name, module in problem.classifier.named_modules()}

    def check(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and not _is_linear_along_rays(module, inputs, generator):
            wrong.append(names[module])

    # From faint to far brighter than any image: some nonlinearities bend near 0, others far from it, and ReLUs behind them may be dead.
    brightness = torch.logspace(-1, 1, PROBES).reshape(-1, 1, 1, 1)
    images = (brightness * torch.randn(PROBES, *problem.images.shape[1:], generator=generator)).to(problem.images.device)
    with torch.no_grad(), _hooked(problem.classifier, check):
        logits = problem.classifier(images)
    if wrong:
        return f"{wrong[0]} does not grow in proportion to its input, as ReLU does, so the output is not the sum of its parts"
    rows = torch.arange(PROBES, device=images.device)
    trial = Problem(problem.classifier, images, logits.argmax(1, keepdim=True), rows, rows, problem.background)
    sums = torch.stack([part.flatten(1).sum(1) for part in next(terms(trial))])
    # A per cent, since convolutions on a GPU may round to 10 bits.
    if ((sums.sum(0) - logits.amax(1)).abs() > 0.01 * sums.abs().sum(0)).any():
        return "a bias or a nonlinearity other than ReLU is applied outside the modules without children: make it one of them"
    return None


def _is_linear_along_rays(module: nn.Module, inputs: tuple[Any, ...], generator: torch.Generator) -> bool:
    """Whether bias aside the output grows in proportion to the input, which together with piecewise linearity makes the bias right."""
    probe = [torch.randn(value[:1].shape, generator=generator).to(value) if isinstance(value, Tensor) else value for value in inputs]
    bias, near, far = (
        _apply(module, [factor * value if isinstance(value, Tensor) else value for value in probe]) for factor in (0.0, 1.0, STRETCH)
    )
    gap = (far - bias) - STRETCH * (near - bias)
    return bool(gap.abs().max() <= 1e-3 * (far.abs().max() + bias.abs().max()))


def _apply(module: nn.Module, inputs: list[Any]) -> Any:
    with torch.no_grad():
        return module.forward(*inputs)  # not as a call: no hook may see it


@contextlib.contextmanager
def _hooked(model: nn.Module, hook: Any) -> Iterator[None]:
    """The hook after every module that has no children."""
    handles = [module.register_forward_hook(hook) for module in model.modules() if not any(module.children())]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
