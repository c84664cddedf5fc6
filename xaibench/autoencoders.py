"""Autoencoders: networks that send images through a few numbers and back, trained as helpers of counterfactual methods and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xaibench.component import Fraction, PositiveInt
from xaibench.problem import Model, Problem, Recipe, Training
from xaibench.training import Trainer

VERSION = 2


class Autoencoder(nn.Module):
    """An encoder from images (n, C, H, W) to codes (n, L) in [-1, 1], and a decoder back to images in [0, 1]."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, images: Tensor) -> Tensor:
        """The reconstructed images."""
        found: Tensor = self.decoder(self.encoder(images))
        return found


@dataclass(frozen=True)
class AutoencoderModel(Model):
    """What an autoencoder's architecture is; `build` gives an `Autoencoder`, which is fitted to the images by their squared error.

    Parameters
    ----------
    epochs
        Epochs of its training.
    """

    reconstructs: ClassVar[bool] = True
    recipe: ClassVar[Recipe] = Recipe(batch_size=64)

    epochs: PositiveInt = 10


@dataclass(frozen=True)
class ConvAutoencoder(AutoencoderModel):
    """Two convolutions that halve the image and a dense layer, and the same back.

    Weights start as He et al. draw them for ReLUs (2015, arXiv:1502.01852), biases at 0. From PyTorch's own start, whose standard
    deviation is 0.41 times that, 10 of 44 autoencoders of MNIST and Fashion-MNIST and their classes stayed at or near the mean image.

    Parameters
    ----------
    latent
        Numbers in a code.
    width
        Channels of the first convolution; the second has twice as many.
    epochs
        Epochs of its training.
    """

    latent: PositiveInt = 64
    width: PositiveInt = 16

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """See `Model`."""
        channels, height, width = image_shape
        half, quarter = ((-(-height // by), -(-width // by)) for by in (2, 4))
        narrow, wide = self.width, 2 * self.width
        size = wide * quarter[0] * quarter[1]
        encoder = nn.Sequential(
            *(nn.Conv2d(channels, narrow, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(size, self.latent), nn.Tanh()),
        )
        decoder = nn.Sequential(
            *(nn.Linear(self.latent, size), nn.ReLU(), nn.Unflatten(1, (wide, *quarter))),
            *(nn.Upsample(half), nn.Conv2d(wide, narrow, 3, padding=1), nn.ReLU()),
            *(nn.Upsample((height, width)), nn.Conv2d(narrow, channels, 3, padding=1), nn.Sigmoid()),
        )
        network = Autoencoder(encoder, decoder)
        for values in network.parameters():
            if values.dim() > 1:
                nn.init.kaiming_normal_(values, nonlinearity="relu")
            else:
                nn.init.zeros_(values)
        return network


def training(classifier: Training, autoencoder: AutoencoderModel, only: int | None = None) -> Training:
    """An autoencoder of the classifier's training images, or of those of one class, with the classifier's seed."""
    return Training(classifier.dataset, autoencoder, Trainer(epochs=autoencoder.epochs), classifier.seed, only=only)


def through(problem: Problem, network: nn.Module, images: Tensor) -> Tensor:
    """What a helper gives for images, in the problem's chunks."""
    with torch.inference_mode():
        return torch.cat([network(part) for part in images.split(problem.chunk)])


def unfit(problem: Problem, autoencoder: nn.Module, least: Fraction) -> str | None:
    """Why an autoencoder is not good enough, or None: the classifier takes too many of the reconstructed images for another class.

    Parameters
    ----------
    least
        Share of the images that must keep their predicted class.
    """
    again = through(problem, autoencoder, problem.images)
    guesses, kept_guesses = (through(problem, problem.classifier, images).argmax(1) for images in (problem.images, again))
    kept = float((guesses == kept_guesses).double().mean())
    if kept >= least:
        return None
    error = float((again - problem.images).square().mean())
    return (
        f"the autoencoder is not good enough: {kept:.1%} of the reconstructed images keep their predicted class, expected at least "
        f"{least:.1%} (mean squared error {error:.3g}); train it longer, with more numbers in a code, or lower least_agreement"
    )
