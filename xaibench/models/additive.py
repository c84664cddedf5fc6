"""An additive classifier, of which the Shapley values are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xaibench.component import PositiveInt
from xaibench.problem import Model, Recipe


class AdditiveNetwork(nn.Module):
    """Conv 1x1 - ReLU - dense: no layer joins two pixels before they are added up."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int, hidden: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.convolution, self.activation, self.flatten = nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Flatten()
        self.dense = nn.Linear(hidden * height * width, classes)
        # Each unit bends at a random color, where PyTorch's own start leaves many of them linear, or 0, on all of [0, 1].
        bends = (self.convolution.weight.detach().flatten(1) * torch.rand(hidden, channels)).sum(1)
        self.convolution.bias = nn.Parameter(-bends)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        return self.dense(self.flatten(self.activation(self.convolution(images))))

    def contributions(self, images: Tensor) -> Tensor:
        """What each pixel adds to each logit, logit units, signed; with the last layer's bias they sum to the logits.

        The Shapley value of a pixel, where absent pixels take the values of a background image, averaged over the background, is
        ``contributions(images) - contributions(background).mean(0)``: exact, as what a pixel adds does not depend on the others
        (Lundberg and Lee 2017, arXiv:1705.07874, eq. 8, for an additive function).

        Parameters
        ----------
        images
            (N, C, H, W).

        Returns
        -------
        Tensor
            (N, K, H, W).
        """
        features = self.activation(self.convolution(images))
        weights = self.dense.weight.unflatten(1, features.shape[1:])
        return torch.einsum("nuhw,kuhw->nkhw", features, weights)


@dataclass(frozen=True)
class Additive(Model):
    """A classifier whose logits are sums of a function of each pixel: exact Shapley values in closed form.

    logit_k(x) = b_k + sum over pixels p of g_kp(x_p): conv 1x1, `hidden` - ReLU - flatten - dense. Each g_kp is piecewise linear, of the
    pixel's color (all channels), with at most `hidden` bends for grey images. `AdditiveNetwork.contributions` gives the terms of the sum.

    Parameters
    ----------
    hidden
        Channels of the convolution, which all pixels share.
    """

    recipe: ClassVar = Recipe(optimizer="adam", learning_rate=1e-3, epochs=10, batch_size=128, keep="best")

    hidden: PositiveInt = 16

    def build(self, image_shape: tuple[int, int, int], classes: int) -> AdditiveNetwork:
        """The network, from PyTorch's default initialization, but for the convolution's bias."""
        return AdditiveNetwork(image_shape, classes, self.hidden)
