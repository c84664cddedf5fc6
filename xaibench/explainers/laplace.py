"""The Laplace control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.nn import functional

from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Laplace(Explainer):
    """How far each pixel of the image differs from its four neighbors: a control that ignores the classifier.

    Returns
    -------
    Attributions
        (B, T, C, H, W), magnitude of the image's discrete Laplacian (the four neighbors minus four times the pixel; edges replicated),
        in each channel; in [0, 4]; the same for every target.
    """

    family: ClassVar = Family.CONTROL

    def unsupported(self, problem: Problem) -> str | None:
        """Never: a control needs no model."""
        return None

    def passes(self, problem: Problem) -> Passes:
        """None."""
        return Passes()

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        images = problem.images
        kernel = images.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
        padded = functional.pad(images, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None]
        magnitude = functional.conv2d(padded, kernel)[:, 0].abs().unflatten(0, images.shape[:2])
        return Attributions(magnitude[:, None].repeat(1, problem.targets.shape[1], 1, 1, 1))
