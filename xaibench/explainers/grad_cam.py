"""Grad-CAM."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from xaibench import gradients
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem, select
from xaibench.seeding import Rng


@dataclass(frozen=True)
class GradCam(Explainer):
    """Where the feature maps that raise the explained output are active: their sum weighted by their mean gradients, negative parts cut.

    Parameters
    ----------
    layer
        Name of the module (as in `named_modules`) whose output holds the feature maps; None takes the last `nn.Conv2d` in the
        order of registration. In a residual network that may be a shortcut: name the last block there.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), not negative, output units times activation over activation; the coarse map upsampled bilinearly
        (`align_corners=False`). No completeness.

    References
    ----------
    Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, Grad-CAM, ICCV 2017 (arXiv:1610.02391), eqs. 1 and 2. Differs: the
    convolution's own output is taken, before the activation function that follows it; name that module in `layer` to have it after.
    """

    family: ClassVar = Family.ACTIVATION
    paper: ClassVar = "Selvaraju et al., 2017 (arXiv:1610.02391)"

    layer: str | None = None

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: it needs feature maps larger than 1 x 1."""
        reason = super().unsupported(problem)
        if reason is not None:
            return reason
        module = self._find(problem.classifier)
        if module is None:
            return "the model has no 2D convolution" if self.layer is None else f"the model has no layer {self.layer!r}"
        with torch.no_grad(), _maps(module) as maps:
            problem.classifier(problem.images[:1])
        shape = tuple(maps[-1].shape) if maps and isinstance(maps[-1], Tensor) else ()
        if len(shape) != 4:
            return f"{'the last 2D convolution' if self.layer is None else f'layer {self.layer!r}'} gives no feature maps (N, K, H, W)"
        return None if max(shape[2:]) > 1 else "the feature maps are 1 x 1: there is nothing to locate"

    def passes(self, problem: Problem) -> Passes:
        """One forward and one backward pass for each (image, target)."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        module = self._find(problem.classifier)
        if module is None:
            raise ValueError(f"GradCam.layer={self.layer!r}: expected a module of the model")
        targets = problem.targets.shape[1]
        pairs = torch.arange(problem.targets.numel(), device=problem.images.device)
        found = [self._chunk(problem, module, chunk // targets, chunk % targets) for chunk in pairs.split(problem.chunk)]
        return Attributions(torch.cat(found).unflatten(0, (-1, targets)))

    def _chunk(self, problem: Problem, module: nn.Module, row: Tensor, target: Tensor) -> Tensor:
        """(n, 1, H, W): the maps of n (image, target) pairs."""
        images = problem.images[row]
        with torch.enable_grad(), _maps(module) as maps:
            explained = select(problem.classifier(images), problem.targets[row, target, None], self.output)
            (gradient,) = torch.autograd.grad(explained.sum(), maps[-1])
        coarse = (gradient.mean((2, 3), keepdim=True) * maps[-1].detach()).sum(1, keepdim=True).relu()
        return functional.interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=False)

    def _find(self, model: nn.Module) -> nn.Module | None:
        if self.layer is not None:
            return dict(model.named_modules()).get(self.layer)
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        return convolutions[-1] if convolutions else None


@contextlib.contextmanager
def _maps(module: nn.Module) -> Iterator[list[Any]]:
    """The module's outputs, one for each call. Under gradients they are leaves, so nothing before them is differentiated."""
    found: list[Any] = []

    def cut(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if not (isinstance(output, Tensor) and torch.is_grad_enabled()):
            found.append(output)
            return None
        found.append(output.detach().requires_grad_(True))
        # A copy goes on: the module that follows may work in place, which a leaf does not allow.
        return found[-1].clone()

    handle = module.register_forward_hook(cut)
    try:
        yield found
    finally:
        handle.remove()
