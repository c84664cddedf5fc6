"""What the datasets that are made from a seed have in common."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

import torch

from xaibench.component import NonNegativeInt, describe
from xaibench.datasets.fashion_mnist import FashionMnist
from xaibench.datasets.idx import IdxDataset
from xaibench.datasets.mnist import Mnist
from xaibench.problem import Dataset
from xaibench.seeding import Each, Rng

SOURCES: dict[str, type[IdxDataset]] = {"mnist": Mnist, "fashion_mnist": FashionMnist}


@dataclass(frozen=True)
class GeneratedDataset(Dataset):
    """A dataset whose content follows from its fields, through the counter-based generator of `seeding`.

    Parameters
    ----------
    data_seed
        Another seed gives other images by the same rules. It has nothing to do with the seed that trains a classifier.
    """

    data_seed: NonNegativeInt = 0

    def checksum(self) -> str:
        """sha256 of the fields, which the content follows from: nothing is generated for it, and keys hold the code besides."""
        return hashlib.sha256(json.dumps(describe(self), sort_keys=True).encode()).hexdigest()

    def draws(self, count: int, part: int = 0) -> Each:
        """A stream of random numbers for each of `count` images; parts (training, validation, test) have streams of their own."""
        return Rng(self.data_seed, component=type(self).__name__).each(torch.arange(count), part)


@dataclass(frozen=True)
class AlteredDataset(GeneratedDataset):
    """A dataset made from the images of MNIST or of Fashion-MNIST.

    Parameters
    ----------
    source
        Where the images and the names of the classes come from.
    """

    source: Literal["mnist", "fashion_mnist"] = "mnist"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the source's classes."""
        return SOURCES[self.source].classes

    def checksum(self) -> str:
        """sha256 of the fields and of the source's files."""
        return hashlib.sha256((super().checksum() + SOURCES[self.source]().checksum()).encode()).hexdigest()
