"""The Laplace control."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn import functional

from xaibench.explainers.control import Control
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Laplace(Control):
    """How far each pixel of the image differs from its four neighbors: a control that ignores the classifier.

    Returns
    -------
    Attributions
        (B, T, C, H, W), magnitude of the image's discrete Laplacian (the four neighbors minus four times the pixel; edges replicated),
        in each channel; in [0, 4]; the same for every target.
    """

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images = problem.images
        kernel = images.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
        padded = functional.pad(images, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None]
        magnitude = functional.conv2d(padded, kernel)[:, 0].abs().unflatten(0, images.shape[:2])
        return Attributions(magnitude[:, None].repeat(1, problem.targets.shape[1], 1, 1, 1))
