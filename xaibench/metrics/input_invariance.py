"""Input invariance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from xaibench.metrics import reexplanation
from xaibench.metrics.altered_network import AlteredNetworkMetric, Preceded
from xaibench.problem import Problem


class _Shift(nn.Module):
    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, images: Tensor) -> Tensor:
        return images + self.shift


@dataclass(frozen=True)
class InputInvariance(AlteredNetworkMetric):
    """How much the map changes, as a share of its size, when all inputs are shifted and the classifier undoes the shift.

    A constant is added to the images and to the background, and a layer before the classifier subtracts it: with its inputs the second
    classifier does what the first does with its own, so the maps should not differ. The shifted images leave [0, 1]. Explainers with a
    fixed reference, such as a black image, or that multiply by the input, are not invariant: to them black is no longer 0.

    Parameters
    ----------
    shift
        What is added.

    Returns
    -------
    Scores
        `value`: (B, T), Euclidean norm of the difference of both maps, over all channels, / that of the first; 0 or more, 0 is best. Below
        about 1e-6 it is rounding. NaN where the first map is 0 everywhere, or a map holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or the explanation cannot explain again.

    References
    ----------
    Kindermans et al., The (un)reliability of saliency methods, 2017 (arXiv:1711.00867), section 2. Differs: theirs changes the bias of the
    first layer, which cannot be done where that layer pads with zeros; the layer before it does it for any network. Rules for layers that
    look at signs see the original inputs of the first layer.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Kindermans et al., 2017 (arXiv:1711.00867)"

    shift: float = -1.0

    def altered(self, problem: Problem) -> Problem:
        """See `AlteredNetworkMetric`."""
        shifted = replace(problem, images=problem.images + self.shift, background=problem.background + self.shift)
        return reexplanation.with_model(shifted, Preceded(_Shift(-self.shift), problem.classifier))

    def error(self, found: Tensor, original: Tensor) -> Tensor:
        """See `AlteredNetworkMetric`."""
        size = original.flatten(2).norm(dim=2)
        return torch.where(size > 0, (found - original).flatten(2).norm(dim=2) / size, torch.nan)
