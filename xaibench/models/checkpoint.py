"""A user's own network with its trained weights."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

from xaibench import checking, keys
from xaibench.component import ConfigurationError
from xaibench.problem import Model
from xaibench.rewriting import modular
from xaibench.seeding import global_seed

NESTED = ("state_dict", "model_state_dict", "model")
"""Names under which training programs keep the weights among other things."""

ADVICE = "expected false for it (in Python rewrite=False, for `xaibench explain` --no-rewrite)"
"""What helps where a network cannot be rewritten."""


@dataclass(frozen=True)
class Checkpoint(Model):
    """Any importable network with the weights in a file: nothing is trained.

    Parameters
    ----------
    target
        Import path of a class or function that gives the network, such as ``my_package.MyNet``, ``torchvision.models.resnet50`` or
        ``timm.create_model``.
    weights
        The file: ``.safetensors``, or what ``torch.save`` wrote of a state dict (read with ``weights_only=True``). Not part of any key:
        its sha256 is.
    arguments
        Arguments of the target, as ``name:value``.
    mean, std
        What the network expects to be subtracted from images in [0, 1], and to divide by: one number, or one for each channel.
    rewrite
        Whether functions and shared activations become modules of their own (`rewriting.modular`), which rules that follow modules need.
        The network must give the same logits as before; one that does not, or cannot be traced, needs false, and such rules are skipped
        where they would miss something.
    name
        What it is called in tables beside others; the file's name where it is empty. Not part of any key.
    sha256
        Of the file; found out where it is not given, else compared.
    source
        sha256 of the code of the target, of the classes of all its modules, and of what they import of their own packages or folders, and
        of the versions of installed packages among them (torch's is not): found out, and part of the key.
    """

    fixed: ClassVar = True

    target: str
    weights: str = field(metadata={"runtime": True})
    arguments: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    rewrite: bool = True
    name: str = field(default="", metadata={"runtime": True, "shown": True})
    sha256: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(value <= 0 for value in self.std):
            raise ConfigurationError(f"model.std={self.std}: expected numbers > 0")
        found = _sha256(self.weights)
        if self.sha256 not in ("", found):
            raise ConfigurationError(f"model.sha256={self.sha256}: expected {found}, which {self.weights} has")
        object.__setattr__(self, "sha256", found)
        object.__setattr__(self, "name", self.name or Path(self.weights).stem)
        object.__setattr__(self, "source", _source(self.target, self.arguments))

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        wrong = [name for name in ("mean", "std") if len(getattr(self, name)) not in (1, image_shape[0])]
        return f"{wrong[0]}={getattr(self, wrong[0])}: expected 1 number, or {image_shape[0]}, one for each channel" if wrong else None

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network as the target initializes it."""
        return trainable(prepared(self._made(), image_shape[0], self.mean, self.std, self.rewrite))

    def pretrained(self, image_shape: tuple[int, int, int], classes: int) -> Mapping[str, Tensor]:
        """The file's weights, by their names in what `build` gives; the network with them is checked on two images of noise."""
        noise = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
        return prepared(self.network(), image_shape[0], self.mean, self.std, self.rewrite, noise).state_dict()

    def network(self) -> nn.Module:
        """The network as it is in the file, in eval mode, without normalization."""
        network = self._made()
        try:
            network.load_state_dict(_unwrapped(_state(self.weights), network.state_dict()))
        except RuntimeError as error:
            told = " ".join(str(error).split())
            raise ConfigurationError(f"model.weights={self.weights}: expected the state of {self.target}: {told}") from error
        return network.eval()

    def _made(self) -> nn.Module:
        return _made(self.target, self.arguments)


def prepared(
    network: nn.Module, channels: int, mean: tuple[float, ...], std: tuple[float, ...], rewrite: bool, images: Tensor | None = None
) -> nn.Module:
    """A network that takes images in [0, 1], in eval mode; see `Checkpoint` for the arguments.

    Where there are images, it must give the same logits for them twice, and the same ones after it was rewritten.
    """
    whole, name = network.eval(), type(network).__name__
    if {*mean} != {0.0} or {*std} != {1.0}:
        whole = nn.Sequential(normalization(channels, mean, std), network).eval()
    given = None if images is None else checking.steady(whole, images, f"model={name}")
    if not rewrite:
        return whole
    try:
        rewritten = modular(whole)
    except Exception as error:  # whatever a foreign network raises while it is traced
        told = f"{name} cannot be traced ({type(error).__name__}: {error})"
        raise ConfigurationError(f"model.rewrite=true: {told}; {ADVICE}") from error
    if images is not None and given is not None:
        checking.same(given, rewritten, images, f"model.rewrite=true: {name}", ADVICE)
    return rewritten


def trainable(network: nn.Module) -> nn.Module:
    """A prepared network in train mode, with a gradient for all parameters; its normalization stays as it is."""
    for module in network.train().requires_grad_().modules():
        if normalizes(module):
            module.eval()
    return network


def normalizes(module: nn.Module) -> bool:
    """Whether it is a `normalization`."""
    return isinstance(module, nn.BatchNorm2d) and module.eps == 0


def normalization(channels: int, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Module:
    """``(x - mean) / std``, channel by channel, as a batch normalization: a layer that every rule knows."""
    layer = nn.BatchNorm2d(channels, eps=0.0, affine=False)
    layer.running_mean = torch.tensor(mean, dtype=torch.float32).expand(channels).clone()
    layer.running_var = torch.tensor(std, dtype=torch.float32).expand(channels).square()
    return layer.eval()


def _callable(target: str) -> Any:
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a foreign module raises while it is imported
        told = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"model.target={target!r}: expected the import path of a network ({told})") from error


def _made(target: str, arguments: tuple[str, ...]) -> nn.Module:
    make, named = _callable(target), _named(arguments)
    try:
        made = make(**named)
    except Exception as error:  # whatever a foreign network raises
        told = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"model.arguments={arguments}: expected those of {target} ({told})") from error
    if not isinstance(made, nn.Module):
        raise ConfigurationError(f"model.target={target!r}: expected a torch.nn.Module, got {type(made).__name__}")
    return made


def _named(arguments: tuple[str, ...]) -> dict[str, Any]:
    wrong = [text for text in arguments if not text.partition(":")[0].isidentifier() or ":" not in text]
    if wrong:
        raise ConfigurationError(f"model.arguments: {wrong[0]!r}: expected name:value")
    return {name: yaml.safe_load(value) for name, _, value in (text.partition(":") for text in arguments)}


@lru_cache(maxsize=8)
def _source(target: str, arguments: tuple[str, ...]) -> str:
    """sha256 of the code of a network, wherever its parts are defined."""
    with global_seed(0):
        network = _made(target, arguments)
    classes = {base for module in network.modules() for base in type(module).__mro__}
    function = inspect.unwrap(_callable(target))  # without decorators, which have modules of their own
    return keys.digest(keys.sources({target.rpartition(".")[0], function.__module__, *(base.__module__ for base in classes)}))


@lru_cache(maxsize=8)
def _sha256(path: str) -> str:
    if not Path(path).is_file():
        raise ConfigurationError(f"model.weights={path}: expected a file, .safetensors or of torch.save")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _state(path: str) -> Mapping[str, Tensor]:
    """The state dict in a file."""
    try:
        if path.endswith(".safetensors"):
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever is raised of a file that is damaged, or not of this kind
        told = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(f"{type(error).__name__}: {error}".split()))[:300]  # torch writes bold letters
        expected = ".safetensors file" if path.endswith(".safetensors") else "state dict that loads with weights_only=True"
        raise ConfigurationError(f"model.weights={path}: expected a {expected} ({told})") from error
    inner = next((content[name] for name in NESTED if isinstance(content, dict) and isinstance(content.get(name), dict)), content)
    if not isinstance(inner, dict) or not all(isinstance(value, Tensor) for value in inner.values()):
        raise ConfigurationError(f"model.weights={path}: expected a state dict, names and tensors, got {type(content).__name__}")
    return inner


def _unwrapped(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Without the ``module.`` that `DataParallel` puts before all names, unless some are the network's own."""
    if not all(name.startswith("module.") for name in state) or state.keys() & own.keys():
        return state
    return {name.removeprefix("module."): value for name, value in state.items()}
