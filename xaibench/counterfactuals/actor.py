"""The two networks of a deterministic policy gradient: the actor, which is kept, and the critic, which lives only while it is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from xaibench.autoencoders import Autoencoder, AutoencoderModel, ConvAutoencoder
from xaibench.component import PositiveInt
from xaibench.problem import Model

VERSION = 1


class ActorNetwork(nn.Module):
    """Gives, for codes (n, L), predicted classes (n,) and targets (n,), the codes (n, L) of the counterfactuals, in [-1, 1]."""

    def __init__(self, latent: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.latent, self.classes, self.hidden = latent, classes, hidden
        self.layers = nn.Sequential(*dense(latent + 2 * classes, hidden, latent), nn.Tanh())

    def forward(self, codes: Tensor, predicted: Tensor, targets: Tensor) -> Tensor:
        """The counterfactuals' codes."""
        found: Tensor = self.layers(state(codes, predicted, targets, self.classes))
        return found


class Critic(nn.Module):
    """Estimates (n,) the reward of proposed codes (n, L) where the actor is given codes, predicted classes and targets."""

    def __init__(self, latent: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.classes = classes
        self.layers = nn.Sequential(*dense(2 * (latent + classes), hidden, 1), nn.Flatten(0))

    def forward(self, codes: Tensor, predicted: Tensor, targets: Tensor, proposed: Tensor) -> Tensor:
        """The estimated rewards."""
        found: Tensor = self.layers(torch.cat([state(codes, predicted, targets, self.classes), proposed], dim=1))
        return found


def dense(inputs: int, hidden: int, outputs: int) -> tuple[nn.Module, ...]:
    """Two hidden layers with layer normalization and ReLU, and a dense output."""
    first = (nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU())
    second = (nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.ReLU())
    return (*first, *second, nn.Linear(hidden, outputs))


def state(codes: Tensor, predicted: Tensor, targets: Tensor, classes: int) -> Tensor:
    """(n, L + 2 K): codes, and both classes one-hot."""
    return torch.cat([codes, *(functional.one_hot(labels, classes).to(codes.dtype) for labels in (predicted, targets))], dim=1)


@dataclass(frozen=True)
class Actor(Model):
    """Two dense layers with layer normalization, from a code and two classes to a code: `build` gives an `ActorNetwork`.

    Parameters
    ----------
    autoencoder
        The architecture whose codes it takes and gives.
    hidden
        Width of each hidden layer.
    """

    autoencoder: AutoencoderModel = ConvAutoencoder()
    hidden: PositiveInt = 256

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """See `Model`."""
        autoencoder = self.autoencoder.build(image_shape, classes).eval()
        assert isinstance(autoencoder, Autoencoder)
        with torch.inference_mode():
            latent = autoencoder.encoder(torch.zeros(1, *image_shape)).shape[1]
        return ActorNetwork(latent, classes, self.hidden)
