"""Symmetry error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor, nn

from xaibench.metrics import reexplanation
from xaibench.metrics.altered_network import AlteredNetworkMetric, Preceded
from xaibench.problem import Problem


class _Mirrored(nn.Module):
    """Averages images with their mirror images."""

    def forward(self, images: Tensor) -> Tensor:
        return symmetrized(images)


def symmetrized(images: Tensor) -> Tensor:
    """The mean of images and their left-right mirror images."""
    return (images + images.flip(3)) * 0.5


@dataclass(frozen=True)
class SymmetryError(AlteredNetworkMetric):
    """How differently pixels are valued that the classifier treats alike, as a share of their absolute relevance.

    Before the classifier a layer averages every image with its left-right mirror image, so that exchanging two mirrored pixels changes no
    output. The explainer explains both together, for images and a background that are averaged so too: mirrored pixels have equal values,
    and must have equal relevance. It is a score of the explainer: of the given map only its shape matters, and whether it holds a NaN.

    Returns
    -------
    Scores
        `value`: (B, T), sum of |relevance - that of the mirrored pixel| over all pixels and channels / twice the sum of |relevance|, in
        [0, 1]; 0 is best, 1 when of each pair one holds everything, or both are opposite; normal noise has about .71. NaN where the
        relevance is 0 everywhere, or the given or the new map holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or the explanation cannot explain again.

    References
    ----------
    Sundararajan and Najmi, The many Shapley values for model explanation, ICML 2020 (arXiv:1908.08474), section 2: symmetry. Differs: an
    axiom there, here how far from it an explainer is.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Sundararajan and Najmi, 2020 (arXiv:1908.08474)"

    def altered(self, problem: Problem) -> Problem:
        """See `AlteredNetworkMetric`."""
        mirrored = replace(problem, images=symmetrized(problem.images), background=symmetrized(problem.background))
        return reexplanation.with_model(mirrored, Preceded(_Mirrored(), problem.classifier))

    def error(self, found: Tensor, original: Tensor) -> Tensor:
        """See `AlteredNetworkMetric`."""
        return (found - found.flip(4)).abs().sum(dim=(2, 3, 4)) / (2 * found.abs().sum(dim=(2, 3, 4)))
