"""The Sobel control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from xaibench.explainers.control import Control
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Sobel(Control):
    """How strong an edge of the image is at each pixel: a control that ignores the classifier.

    Returns
    -------
    Attributions
        (B, T, C, H, W), magnitude of the image's gradient under the two 3 x 3 Sobel kernels (unscaled, edges replicated), in each
        channel; in [0, 4 sqrt(2)]; the same for every target.

    References
    ----------
    As a control for explanations: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018 (arXiv:1810.03292), section 5.
    """

    paper: ClassVar = "Adebayo et al., 2018 (arXiv:1810.03292)"

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images = problem.images
        smoothing, difference = images.new_tensor([1.0, 2.0, 1.0]), images.new_tensor([-1.0, 0.0, 1.0])
        horizontal = smoothing[:, None] * difference
        kernels = torch.stack([horizontal, horizontal.T])[:, None]
        padded = functional.pad(images, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None]
        magnitude = functional.conv2d(padded, kernels).square().sum(1).sqrt().unflatten(0, images.shape[:2])
        return Attributions(magnitude[:, None].repeat(1, problem.targets.shape[1], 1, 1, 1))
