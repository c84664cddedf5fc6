"""The arguments of `xaibench.evaluate` and `xaibench.explain`: checked, and brought into the form that components have."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xaibench import checking
from xaibench.component import ConfigurationError
from xaibench.given import Content
from xaibench.models.checkpoint import prepared
from xaibench.problem import Arrays, Split
from xaibench.selection import ExplainOn

log = logging.getLogger(__name__)

LOOKED_AT = 8
"""Images that a rewritten network is compared on."""


def network(model: Any, pixels: Tensor, mean: Any, std: Any, rewrite: bool) -> tuple[nn.Module, Tensor]:
    """A copy that takes images in [0, 1], on the CPU and in eval mode; and what it gives for the images before it is rewritten."""
    if not isinstance(model, nn.Module):
        raise ConfigurationError(f"model={model!r}: expected a torch.nn.Module")
    channels = pixels.shape[1]
    means, stds = (_numbers(name, values, channels) for name, values in (("mean", mean), ("std", std)))
    if min(stds) <= 0:
        raise ConfigurationError(f"std={std}: expected numbers above 0")
    if model.training:
        log.warning("model: expected a network in eval mode; a copy of it is evaluated in that mode")
    owned = copy.deepcopy(model).cpu()
    found = prepared(owned, channels, means, stds, rewrite, pixels[:LOOKED_AT])
    plain = prepared(owned, channels, means, stds, rewrite=False)
    return found, checking.logits(plain, pixels, f"model={type(model).__name__}")


def content(pixels: Tensor, logits: Tensor, labels: Any, train: Any, masks: Any, class_names: Sequence[str]) -> Content:
    """What is given beside the network, as a dataset's content."""
    classes, shape = logits.shape[1], tuple(pixels.shape[1:])
    names = tuple(class_names) or tuple(map(str, range(classes)))
    if len(names) != classes or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"class_names={names}: expected {classes} names, as the model has so many outputs")
    test = Split(pixels, logits.argmax(1) if labels is None else _labels("labels", labels, len(pixels), classes))
    known = test
    if train is not None:
        if not isinstance(train, tuple | list) or len(train) != 2:
            raise ConfigurationError(f"train of type {type(train).__name__}: expected (images, labels)")
        taught = images("train[0]", train[0])
        known = Split(taught, _labels("train[1]", train[1], len(taught), classes))
        if taught.shape[1:] != pixels.shape[1:]:
            raise ConfigurationError(f"train: expected images of shape {shape}, as images, got {tuple(taught.shape[1:])}")
    true = None if masks is None else _tensor("masks", masks).bool()
    height, width = shape[1:]
    if true is not None and tuple(true.shape) not in ((len(pixels), height, width), (len(pixels), classes, height, width)):
        wanted = f"(N, H, W) or (N, K, H, W), here ({len(pixels)}, {height}, {width}) or ({len(pixels)}, {classes}, {height}, {width})"
        raise ConfigurationError(f"masks of shape {tuple(true.shape)}: expected {wanted}")
    return Content(Arrays(known, known, test, true), names, logits, train is not None)


def images(name: str, values: Any) -> Tensor:
    """(N, C, H, W), float32."""
    found = _tensor(name, values)
    last = found.dim() == 4 and found.shape[3] in (1, 3) and min(found.shape[1:3]) > 4
    if found.dim() != 4 or not found.numel() or last:
        hint = "; these have their channels last: permute(0, 3, 1, 2) changes that" if last else ""
        raise ConfigurationError(f"{name} of shape {tuple(found.shape)}: expected (N, C, H, W){hint}")
    if not found.is_floating_point() or not found.isfinite().all() or found.min() < 0 or found.max() > 1:
        between = f"{float(found.min()):.3g} to {float(found.max()):.3g}"
        hint = "normalization is told by mean and std"
        raise ConfigurationError(f"{name} of type {found.dtype}, from {between}: expected floating point numbers in [0, 1]; {hint}")
    return found.float()


def explain_on(targets: Any, labels: Tensor, logits: Tensor) -> ExplainOn:
    """All images, with the classes to explain."""
    listed = isinstance(targets, Iterable) and not isinstance(targets, str)
    found = ExplainOn(count=None, order="first", targets=tuple(targets) if listed else targets)
    found.classes(labels, logits)  # raises for classes that there are not
    return found


def folder(store: str | Path) -> Path:
    """Where results are kept."""
    found = Path(store).absolute()
    if found.exists() and not found.is_dir():
        raise ConfigurationError(f"store={str(store)!r}: expected a folder, or none yet, and it is a file")
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"store={str(store)!r}: expected a folder that can be made ({error})") from error
    return found


def _numbers(name: str, values: Any, channels: int) -> tuple[float, ...]:
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        found = ()
    if len(found) not in (1, channels) or not np.isfinite(found).all():
        raise ConfigurationError(f"{name}={values!r}: expected 1 number, or {channels}, one for each channel, in a list")
    return found


def _labels(name: str, values: Any, count: int, classes: int) -> Tensor:
    found = _tensor(name, values)
    if found.shape != (count,) or found.is_floating_point() or int(found.min()) < 0:
        raise ConfigurationError(f"{name} of shape {tuple(found.shape)} and type {found.dtype}: expected ({count},) integers from 0")
    if int(found.max()) >= classes:
        wanted = f"expected numbers below {classes}, as the model has so many outputs"
        raise ConfigurationError(f"{name}: {wanted}, got {int(found.max())}")
    return found.long()


def _tensor(name: str, values: Any) -> Tensor:
    if isinstance(values, Tensor):
        found = values.detach().cpu()
        return found.clone() if found.is_inference() else found  # or no gradient can be taken
    try:
        return torch.from_numpy(np.ascontiguousarray(values))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name} of type {type(values).__name__}: expected an array or a tensor of numbers ({error})") from error
