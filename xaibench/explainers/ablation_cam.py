"""Ablation-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xaibench import perturb
from xaibench.explainers.feature_maps import WeightedActivation
from xaibench.problem import Problem


@dataclass(frozen=True)
class AblationCam(WeightedActivation):
    """Where the feature maps are active without which the explained output drops: their sum weighted by the relative drops, cut at 0.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), not negative, units of activation; the coarse map upsampled bilinearly (`align_corners=False`). No completeness.

    References
    ----------
    Desai and Ramaswamy, Ablation-CAM, WACV 2020 (doi:10.1109/WACV45572.2020.9093360): weights (y - y_k) / y, with y_k the output when
    map k is 0. Differs: the drop is divided by |y|, or a negative output would turn the map around, and by 1.2e-7 (float32's resolution)
    where |y| is smaller; in any case it is one factor for the whole map. Of signed maps the positive part
    is taken.
    """

    paper: ClassVar = "Desai and Ramaswamy, 2020 (doi:10.1109/WACV45572.2020.9093360)"

    def weights(self, problem: Problem, module: nn.Module, maps: Tensor, explained: Tensor) -> Tensor:
        """See `WeightedActivation`."""
        ablated: list[Tensor] = []

        def alter(row: Tensor, channel: Tensor) -> Tensor:
            ablated.append(channel)
            return problem.images.index_select(0, row)

        def ablate(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            channel = ablated.pop()
            # What a convolution gives is its own; another module may hand on its input, which something else may use.
            output = output if isinstance(module, nn.Conv2d) else output.clone()
            output[torch.arange(len(channel), device=channel.device), channel] = 0.0
            return output

        handle = module.register_forward_hook(ablate)
        try:
            without = perturb.values(problem, maps.shape[1], alter, self.output)
        finally:
            handle.remove()
        return (explained[:, :, None] - without) / explained.abs().clamp(min=torch.finfo(torch.float32).eps)[:, :, None]
