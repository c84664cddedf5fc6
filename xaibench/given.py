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

from xaibench.models.checkpoint import normalizes, trainable
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
    trains
        Whether training images are given; without, the images themselves stand for them, and nothing is trained with these.
    """

    sha256: str
    channels: int
    height: int
    width: int
    names: tuple[str, ...]
    masked: bool = False
    trains: bool = False

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

    @property
    def untrainable(self) -> str:
        """Why no network can be trained with them, or ""."""
        return "" if self.trains else "needs a network to be trained, and no training images are given: expected train=(images, labels)"

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
        Of its weights, its structure, and what it gives for the images.
    """

    fixed: ClassVar = True

    name: str
    sha256: str

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A copy of the network with new weights, as each module draws its own; of a module that cannot, the given ones."""
        network = trainable(copy.deepcopy(_networks[self.sha256]))
        for module in reversed([*network.modules()]):  # from the inside: a module may draw what its parts have drawn in its own way
            if callable(reset := getattr(module, "reset_parameters", None)) and not normalizes(module):
                reset()
        return network

    def pretrained(self, image_shape: tuple[int, int, int], classes: int) -> Mapping[str, Tensor]:
        """Its weights."""
        return _networks[self.sha256].state_dict()

    @property
    def untrainable(self) -> str:
        """Which module has weights and cannot draw new ones, or ""."""
        modules = _networks[self.sha256].named_modules()
        own = [(name, module) for name, module in modules if next(module.parameters(recurse=False), None) is not None]
        fixed = next((name for name, module in own if not hasattr(module, "reset_parameters")), None)
        reason = "has parameters and no reset_parameters(), so that the network cannot be trained from new weights"
        return "" if fixed is None else f"module {fixed or self.name!r} {reason}"


@dataclass(frozen=True)
class Content:
    """What is given beside the network.

    Attributes
    ----------
    arrays
        The images; as training images the images themselves, where none are given.
    names
        The classes.
    logits
        (N, K): what the network, before it was rewritten, gives for the test images.
    trains
        Whether training images are given.
    """

    arrays: Arrays
    names: tuple[str, ...]
    logits: Tensor
    trains: bool


@contextlib.contextmanager
def given(content: Content, network: nn.Module, original: nn.Module) -> Iterator[tuple[GivenImages, GivenNetwork]]:
    """The components of images and a network, for as long as they are used.

    Parameters
    ----------
    content
        The images, the classes, and what the network gives for the images.
    network
        Takes images in [0, 1], on the CPU and in eval mode.
    original
        What it was made from: its class, and the source of it and its parts, belong to the network's identity.
    """
    arrays, names = content.arrays, content.names
    channels, height, width = arrays.test.images.shape[1:]
    label = type(original).__name__
    tensors, others = _attributes(original)
    # The logits tell apart what is in no attribute that is looked at: hooks, globals, what a method hides.
    known = network.state_dict() | tensors | {"logits": content.logits}
    splits = {"train": arrays.train, "validation": arrays.validation, "test": arrays.test}
    contents = {f"{name}.{part}": value for name, split in splits.items() for part, value in vars(split).items()}
    masked = {} if arrays.test_masks is None else {"masks": arrays.test_masks}
    images = GivenImages(_sha256(contents | masked, str(names)), channels, height, width, names, bool(masked), content.trains)
    model = GivenNetwork(label, _sha256(known, f"{label} {network} {_code(original)} {others}"))
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
