"""Counterfactuals by gradient descent in the code of an autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from xaibench.autoencoders import Autoencoder
from xaibench.counterfactuals.autoencoded import AutoencodedSearch
from xaibench.counterfactuals.descent import Descent
from xaibench.counterfactuals.space import Space, flat
from xaibench.problem import Problem


@dataclass(frozen=True)
class LatentGradient(Descent, AutoencodedSearch):
    """The closest decoded image found that the classifier takes for the target, when the code follows the gradient of its probability.

    Minimizes (f(x') - aim)^2 + weight * distance(x', x) over the codes z of x' = decoder(z), starting from z = encoder(x), with the
    weight found for each pair: the rounds, the steps and all fields are described at `Descent` and `AutoencodedSearch`. All pixels
    change: a decoded image equals no image exactly, so that the distance has a floor, the autoencoder's error. Passes are those of the
    classifier; each comes with one of the decoder.

    Returns
    -------
    Counterfactuals
        For each pair the closest image found; where none is, the last one that was tried.

    References
    ----------
    Joshi et al., Towards realistic individual recourse and actionable explanations in black-box decision making systems (REVISE), 2019
    (arXiv:1907.09615), algorithm 1. Differs: an autoencoder instead of a variational one; squared error instead of cross-entropy; the
    weight is searched, the distance is one of images with each feature's weight 1, and codes stay in [-1, 1], where the encoder's are.
    """

    paper: ClassVar = "Joshi et al., 2019 (arXiv:1907.09615)"

    def space(self, problem: Problem) -> Space:
        """The autoencoder's codes."""
        return Codes(cast(Autoencoder, problem.helpers["autoencoder"]))


@dataclass(frozen=True)
class Codes(Space):
    """Codes of an autoencoder, each number in [-1, 1]."""

    low: ClassVar[float] = -1.0
    proximal: ClassVar[bool] = False

    network: Autoencoder

    def start(self, images: Tensor) -> Tensor:
        """The image's code."""
        with torch.no_grad():
            code: Tensor = self.network.encoder(images)
        return code

    def rows(self, variables: Tensor) -> Tensor:
        """The decoded images."""
        return flat(self.network.decoder(variables))
