"""Dummy error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xaibench.metrics import reexplanation
from xaibench.metrics.altered_network import AlteredNetworkMetric, Preceded
from xaibench.problem import Problem


class _Blind(nn.Module):
    """Makes the lower right quarter of images 0."""

    def forward(self, images: Tensor) -> Tensor:
        return images * seen(images)


def seen(images: Tensor) -> Tensor:
    """(H, W): 0 in the lower right quarter, 1 elsewhere; of an odd number of lines the quarter has one more than half."""
    height, width = images.shape[-2:]
    found = torch.ones(height, width, dtype=images.dtype, device=images.device)
    found[height // 2 :, width // 2 :] = 0
    return found


@dataclass(frozen=True)
class DummyError(AlteredNetworkMetric):
    """Share of the absolute relevance that falls on pixels which the classifier does not see.

    Before the classifier a layer makes the lower right quarter of every image 0; the explainer explains both together, for the unaltered
    images. A quarter, and not scattered pixels, so that methods whose features are squares of the image have features that lie in it as
    a whole. It is a score of the explainer: of the given map only its shape matters, and whether it holds a NaN.

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; 0 is best. A map without information has 1/4. NaN where the relevance is 0 everywhere, or the given or
        the new map holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or the explanation cannot explain again.

    References
    ----------
    Sundararajan and Najmi, The many Shapley values for model explanation, ICML 2020 (arXiv:1908.08474), section 2: dummy. Differs: an
    axiom there, here how far from it an explainer is.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Sundararajan and Najmi, 2020 (arXiv:1908.08474)"

    def altered(self, problem: Problem) -> Problem:
        """See `AlteredNetworkMetric`."""
        return reexplanation.with_model(problem, Preceded(_Blind(), problem.classifier))

    def error(self, found: Tensor, original: Tensor) -> Tensor:
        """See `AlteredNetworkMetric`."""
        sizes = found.abs()
        return (sizes * (1 - seen(found))).sum(dim=(2, 3, 4)) / sizes.sum(dim=(2, 3, 4))
