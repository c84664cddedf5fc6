"""Images and a network that are objects in memory, as components: known by their content, so that results of them can be stored."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import re
import types
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
    tensors, others = _attributes(original)
    content = _sha256(network.state_dict() | tensors, f"{label} {network} {_code(original)} {others}")
    splits = {"train": arrays.train, "validation": arrays.validation, "test": arrays.test}
    contents = {f"{name}.{part}": value for name, split in splits.items() for part, value in vars(split).items()}
    masked = {} if arrays.test_masks is None else {"masks": arrays.test_masks}
    images = GivenImages(_sha256(contents | masked, str(names)), channels, height, width, names, bool(masked))
    model = GivenNetwork(label, content)
    _arrays[images.sha256], _networks[model.sha256] = arrays, network
    try:
        yield images, model
    finally:
        _arrays.pop(images.sha256, None)
        _networks.pop(model.sha256, None)


def _code(network: nn.Module) -> str:
    """What the network's own classes do, which is in no weight and in no module's name: their source, or what was compiled from it."""
    bases = {base for module in network.modules() for base in type(module).__mro__}
    classes = {base for base in bases if base.__module__.split(".")[0] not in ("torch", "builtins")}
    ordered = sorted(classes, key=lambda one: f"{one.__module__}.{one.__qualname__}")
    return "\n".join(_source(function) for cls in ordered for function in vars(cls).values() if inspect.isfunction(function))


def _source(function: types.FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # it was typed into a shell
        compiled = function.__code__
        return _without_places(f"{compiled.co_code.hex()} {compiled.co_consts} {compiled.co_names}")


def _attributes(network: nn.Module) -> tuple[dict[str, Tensor], str]:
    """What else the network's modules hold: tensors that are not in the state dict by name, and all others as text."""
    tensors, others = dict(network.named_buffers()), []
    for path, module in network.named_modules():
        for name, value in sorted(vars(module).items()):
            if isinstance(value, Tensor):
                tensors[f"{path}.{name}"] = value
            elif not name.startswith("_") and name != "training":
                others.append(f"{path}.{name}={_without_places(repr(value))}")
    return {f"held {name}": value for name, value in tensors.items()}, "; ".join(others)


def _without_places(text: str) -> str:
    """Without addresses in memory, which differ from run to run."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _sha256(tensors: Mapping[str, Tensor], more: str) -> str:
    found = hashlib.sha256(more.encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
