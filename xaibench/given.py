"""Images and a network that are objects in memory, as components: known by their content, so that results of them can be stored."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xaibench.problem import Arrays, Dataset, Model

_arrays: dict[str, Arrays] = {}
_networks: dict[str, nn.Module] = {}


@dataclass(frozen=True)
class GivenImages(Dataset):
    """Images in memory.

    Parameters
    ----------
    sha256
        Of their content.
    channels, height, width
        Of an image.
    names
        The classes.
    masked
        Whether true masks are given.
    """

    sha256: str
    channels: int
    height: int
    width: int
    names: tuple[str, ...]
    masked: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names."""
        return self.names

    @property
    def has_masks(self) -> bool:
        """Whether true masks are given."""
        return self.masked

    def checksum(self) -> str:
        """sha256 of the arrays."""
        return self.sha256

    def load(self) -> Arrays:
        """The arrays, while they are given."""
        return _arrays[self.sha256]


@dataclass(frozen=True)
class GivenNetwork(Model):
    """A trained network in memory.

    Parameters
    ----------
    name
        Its class.
    sha256
        Of its weights and its structure.
    """

    fixed: ClassVar = True

    name: str
    sha256: str

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A copy of the network, with its weights."""
        return copy.deepcopy(_networks[self.sha256])

    def pretrained(self, image_shape: tuple[int, int, int], classes: int) -> Mapping[str, Tensor]:
        """Its weights."""
        return _networks[self.sha256].state_dict()


@contextlib.contextmanager
def given(arrays: Arrays, names: tuple[str, ...], network: nn.Module, original: nn.Module) -> Iterator[tuple[GivenImages, GivenNetwork]]:
    """The components of images and a network, for as long as they are used.

    Parameters
    ----------
    arrays
        The images.
    names
        The classes.
    network
        Takes images in [0, 1], on the CPU and in eval mode.
    original
        What it was made from: its class, and the source of it and its parts, belong to the network's identity.
    """
    channels, height, width = arrays.test.images.shape[1:]
    label = type(original).__name__
    content = _sha256(network.state_dict(), f"{label} {network} {_code(original)}")
    splits = {"train": arrays.train, "validation": arrays.validation, "test": arrays.test}
    tensors = {f"{name}.{part}": value for name, split in splits.items() for part, value in vars(split).items()}
    masked = {} if arrays.test_masks is None else {"masks": arrays.test_masks}
    images = GivenImages(_sha256(tensors | masked, str(names)), channels, height, width, names, bool(masked))
    model = GivenNetwork(label, content)
    _arrays[images.sha256], _networks[model.sha256] = arrays, network
    try:
        yield images, model
    finally:
        _arrays.pop(images.sha256, None)
        _networks.pop(model.sha256, None)


def _code(network: nn.Module) -> str:
    """The source of the network's own classes, where it can be read: what `forward` does is in no weight and in no module's name."""
    found = []
    for cls in sorted({type(module) for module in network.modules()}, key=lambda one: f"{one.__module__}.{one.__qualname__}"):
        if not cls.__module__.startswith("torch."):
            with contextlib.suppress(OSError, TypeError):  # it was typed into a shell
                found.append(inspect.getsource(cls))
    return "\n".join(found)


def _sha256(tensors: Mapping[str, Tensor], more: str) -> str:
    found = hashlib.sha256(more.encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
