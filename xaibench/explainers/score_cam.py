"""Score-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xaibench import perturb
from xaibench.explainers.feature_maps import FLAT, WeightedActivation, upsampled
from xaibench.problem import Problem


@dataclass(frozen=True)
class ScoreCam(WeightedActivation):
    """Where the feature maps are active that, laid over the image as masks, keep the explained output high: their weighted sum.

    A mask is a map's positive part upsampled to the image's size and stretched to [0, 1] (a constant map: 0 everywhere). The weights are
    the softmax, over channels, of the explained output at the masked images less that at the black image; the latter cancels out and is
    not computed.

    Returns
    -------
    Attributions
        (B, T, 1, H, W), not negative, units of activation; the coarse map upsampled bilinearly (`align_corners=False`). No completeness.

    References
    ----------
    Wang, Wang, Du, Yang, Zhang, Ding, Mardziel and Hu, Score-CAM, CVPR workshops 2020 (arXiv:1910.01279), algorithm 1, where the softmax
    is over channels and the score is `output`, by default the logit. The authors' code differs from it: weights are the target's
    probability, without a softmax over channels. Differs: of signed maps the positive part is taken.
    """

    paper: ClassVar = "Wang et al., 2020 (arXiv:1910.01279)"

    def weights(self, problem: Problem, module: nn.Module, maps: Tensor, explained: Tensor) -> Tensor:
        """See `WeightedActivation`."""
        channels, every = maps.shape[1], maps.flatten(0, 1)

        def alter(row: Tensor, channel: Tensor) -> Tensor:
            mask = upsampled(every.index_select(0, row * channels + channel)[:, None], problem)
            lowest, highest = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
            flat = highest - lowest <= FLAT * torch.maximum(highest.abs(), lowest.abs())
            scale = (highest - lowest).reciprocal().masked_fill(flat, 0.0)
            return problem.images.index_select(0, row) * mask.sub_(lowest).mul_(scale)

        return perturb.values(problem, channels, alter, self.output).softmax(dim=2)
