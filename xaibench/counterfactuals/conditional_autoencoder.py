"""A class-conditional variational autoencoder: a code of what an image has beside its class, and how it is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from xaibench.component import NonNegativeFloat, PositiveFloat, PositiveInt
from xaibench.problem import Arrays, Model, Procedure, Split
from xaibench.seeding import Rng

PARTS = ("loss", "error", "divergence")
"""Columns of the history, with ``train_`` or ``validation_`` before them."""


class ConditionalNetwork(nn.Module):
    """Images (n, C, H, W) with their classes (n,) to codes (n, L), and codes with classes back to images in [0, 1]."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.classes = encoder, decoder, classes

    def code(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance (n, L) of the code of images that have these classes."""
        mean, log_variance = self.encoder(self._with(images.flatten(1), classes)).chunk(2, dim=1)
        return mean, log_variance

    def drawn(self, codes: Tensor, classes: Tensor) -> Tensor:
        """The log-odds (n, C, H, W) of the images that the codes have in these classes."""
        return self.decoder(self._with(codes, classes))

    def forward(self, images: Tensor, classes: Tensor, others: Tensor) -> Tensor:
        """What images of these classes would be in other classes."""
        return self.drawn(self.code(images, classes)[0], others).sigmoid()

    def _with(self, values: Tensor, classes: Tensor) -> Tensor:
        return torch.cat([values, functional.one_hot(classes, self.classes).to(values)], dim=1)


@dataclass(frozen=True)
class ConditionalAutoencoder(Model):
    """Dense layers: image with class - hidden - hidden - code, and code with class - hidden - hidden - image.

    Parameters
    ----------
    latent
        Numbers in a code.
    width
        Units of each hidden layer.
    """

    reconstructs: ClassVar[bool] = True

    latent: PositiveInt = 16
    width: PositiveInt = 256

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A `ConditionalNetwork`; see `Model`."""
        size, wide = math.prod(image_shape), self.width

        def dense(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Linear(inputs, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, outputs)]

        encoder = nn.Sequential(*dense(size + classes, 2 * self.latent))
        return ConditionalNetwork(encoder, nn.Sequential(*dense(self.latent + classes, size), nn.Unflatten(1, image_shape)), classes)


@dataclass(frozen=True)
class ConditionalAutoencoding(Procedure):
    """Trains a `ConditionalNetwork` on training images and their labels: the classifier has no part in it.

    Parameters
    ----------
    epochs, batch_size, learning_rate
        Of Adam.
    divergence
        Weight of the codes' divergence from a standard normal distribution. It keeps out of the code what the class tells already: on
        MNIST, with a weight of 1, the code tells the class so well that the decoder does not obey the one that it is given.

    References
    ----------
    Kingma et al. 2014 (arXiv:1406.5298), equation 6. Differs: the weight of the divergence (Higgins et al., beta-VAE, 2017); values in
    [0, 1] are taken for probabilities; labels are given, so that their own likelihood is constant.
    """

    epochs: PositiveInt = 5
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-3
    divergence: NonNegativeFloat = 3.0

    def __call__(
        self, network: nn.Module, classifier: nn.Module, helpers: Mapping[str, nn.Module], arrays: Arrays, rng: Rng, progress: bool
    ) -> Mapping[str, Tensor]:
        """Train the network; the history has its loss and the two parts of it, of training and validation images, for one image."""
        assert isinstance(network, ConditionalNetwork)
        optimizer, generator = torch.optim.Adam(network.parameters(), self.learning_rate), rng.shared()
        rows = []
        for _ in range(self.epochs):
            row = {f"train_{name}": value for name, value in self._epoch(network, arrays.train, generator, optimizer).items()}
            with torch.no_grad():
                found = self._epoch(network, arrays.validation, generator)
            rows.append(row | {f"validation_{name}": value for name, value in found.items()})
        return {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}

    def _epoch(
        self, network: ConditionalNetwork, split: Split, generator: torch.Generator, optimizer: torch.optim.Optimizer | None = None
    ) -> dict[str, float]:
        """Means over the images, of which the network learns if it has an optimizer."""
        device, size = next(network.parameters()).device, len(split.labels)
        weights = torch.tensor([1.0, self.divergence], device=device)
        totals = torch.zeros(len(PARTS), dtype=torch.float64, device=device)
        for rows in torch.randperm(size, generator=generator).split(self.batch_size):
            parts = losses(network, split.images[rows].to(device), split.labels[rows].to(device), generator)
            loss = (weights * parts).sum()
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            totals += torch.cat([loss[None], parts]).detach() * len(rows)
        return dict(zip(PARTS, (totals / max(size, 1)).tolist(), strict=True))


def losses(network: ConditionalNetwork, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Means over the images (2,): the cross-entropy of their values, summed, and their codes' divergence from a standard normal one."""
    mean, log_variance = network.code(images, labels)
    codes = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=generator).to(mean.device)
    error = functional.binary_cross_entropy_with_logits(network.drawn(codes, labels), images, reduction="sum") / len(images)
    return torch.stack([error, (mean.square() + log_variance.exp() - 1 - log_variance).sum() / (2 * len(images))])
