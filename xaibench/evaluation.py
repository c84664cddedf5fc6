"""Explain and evaluate a network in memory: the same as `xaibench run`, from Python."""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from torch import Tensor, nn

from xaibench.component import Component
from xaibench.configuration import named
from xaibench.execution import retry, run
from xaibench.given import GivenImages, GivenNetwork, given
from xaibench.grid import Entry, Grid
from xaibench.identity import Explaining
from xaibench.longtable import Results, varying
from xaibench.models.checkpoint import prepared
from xaibench.planning import blank, check, plan, untrained
from xaibench.problem import Arrays, Explainer, Split, Training
from xaibench.progress import watching
from xaibench.scoring import Metric
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages, UnsupportedError, arrays_of
from xaibench.store import Store
from xaibench.training import Trainer

log = logging.getLogger(__name__)

Entries = tuple[Entry[Any], ...]
Chosen = Sequence[str | Component] | Mapping[str, Component]


def evaluate(
    model: nn.Module,
    images: ArrayLike | Tensor,
    labels: ArrayLike | Tensor | None = None,
    explainers: Chosen = ("integrated_gradients",),
    metrics: Chosen = ("deletion",),
    *,
    train: tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None = None,
    masks: ArrayLike | Tensor | None = None,
    targets: Any = "predicted",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    class_names: Sequence[str] = (),
    rewrite: bool = True,
    draw: int = 0,
    device: str = "auto",
    store: str | Path | None = None,
) -> pd.DataFrame:
    """Scores of explanations of a trained network's predictions.

    Parameters
    ----------
    model
        Gives logits (N, K). It is copied: mode, weights and device stay as they are.
    images
        (N, C, H, W), numbers in [0, 1]; what the network expects beyond that are `mean` and `std`.
    labels
        (N,), the true classes; None takes the predicted ones.
    explainers, metrics
        Names, as `xaibench list` has them, components with fields of their own, or both; or components by name.
    train
        Training images and labels: the first hundred stand for "absent" where a method needs such a background, and metrics that
        train networks use them. None takes the images themselves.
    masks
        (N, H, W) or (N, K, H, W), the true relevance, where it is known.
    targets
        The classes to explain, as `ExplainOn.targets`: "predicted", "label", "all", a list, ...
    mean, std
        What the network expects to be subtracted from images, and to divide by: one number, or one for each channel.
    class_names
        Of the classes; empty: their numbers.
    rewrite
        Whether functions and shared activations become modules of their own, as for `Checkpoint`.
    draw
        Drives what is random in explainers and metrics.
    device
        As ``runtime.device``.
    store
        A folder where results are kept, and found by the next call; None keeps nothing.

    Returns
    -------
    DataFrame
        The long table, as ``scores.parquet`` of a study: a row for each explainer, metric, image, class and score, with the `value` and,
        in `flag`, what is wrong with the map. ``attrs["skipped"]`` tells by (explainer, metric) what could not be scored and why,
        ``attrs["failed"]`` what failed.

    Raises
    ------
    ConfigurationError, ValueError
        With the argument, its value and what was expected.
    """
    pixels = _images("images", images)
    network = _network(model, pixels.shape[1], tuple(mean), tuple(std), rewrite)
    chosen = _entries("explainer", explainers, Explainer), _entries("metric", metrics, Metric)
    components = given(*_arrays(network, pixels, labels, train, masks, class_names), network, model)
    with components as found, _stages(device, store) as stages:
        grid = _grid(*found, *chosen, targets, draw)
        check(grid)
        Results(grid, stages.store).read()  # damaged results are removed, and so computed again
        retry(grid, plan(grid, stages.store), stages.store)
        with watching(plan(grid, stages.store), stages.store, Console(stderr=True)):
            run(grid, stages)
        planned = plan(grid, stages.store)
        scores = Results(grid, stages.store).scores()
    scores = scores.astype(dict.fromkeys(scores.select_dtypes("category"), object))
    pairs = {item.key: (item.cell.explainer.name, item.cell.metric.name) for item in planned}
    scores.attrs["skipped"] = {pairs[item.key]: item.reason for item in planned if item.status == "skipped"}
    scores.attrs["failed"] = {pairs[item.key]: item.reason for item in planned if item.status == "failed"}
    for (explainer, metric), reason in {**scores.attrs["skipped"], **scores.attrs["failed"]}.items():
        log.warning("%s of %s: %s", metric, explainer, reason)
    return scores


def explain(
    model: nn.Module,
    images: ArrayLike | Tensor,
    explainers: Chosen = ("integrated_gradients",),
    *,
    train: tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None = None,
    targets: Any = "predicted",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    rewrite: bool = True,
    draw: int = 0,
    device: str = "auto",
    store: str | Path | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Explanations of a trained network's predictions.

    Parameters
    ----------
    model, images, explainers, train, targets, mean, std, rewrite, draw, device, store
        As for `evaluate`.

    Returns
    -------
    dict
        The signed attributions (N, T, C or 1, H, W) of each explainer; what is not supported is left out, with a warning that says why.
    """
    pixels = _images("images", images)
    network = _network(model, pixels.shape[1], tuple(mean), tuple(std), rewrite)
    chosen = _entries("explainer", explainers, Explainer)
    components = given(*_arrays(network, pixels, None, train, None, ()), network, model)
    explained: dict[str, NDArray[np.float32]] = {}
    with components as found, _stages(device, store) as stages:
        grid = _grid(*found, chosen, (), targets, draw)
        check(grid)
        training, on = Training(*found, grid.trainers[0].component, 0), grid.explain_on[0].component
        for entry in chosen:
            try:
                explained[entry.name] = stages.explain(Explaining(training, on, entry.component, draw)).tensors["values"].numpy()
            except UnsupportedError as error:
                log.warning("%s: %s", entry.name, error)
    return explained


@contextlib.contextmanager
def _stages(device: str, store: str | Path | None) -> Iterator[Stages]:
    """The stages with a store."""
    runtime = Runtime(device)
    runtime.torch_device()  # raises for one that is not there
    held = (arrays_of, untrained, blank)  # the user's images and network, which are let go at the end
    try:
        with tempfile.TemporaryDirectory() as scratch:
            yield Stages(Store(Path(store or scratch).absolute()), runtime)
    finally:
        for cached in held:
            cached.cache_clear()


def _grid(dataset: GivenImages, network: GivenNetwork, explainers: Entries, metrics: Entries, targets: Any, draw: int) -> Grid:
    classes: Any = targets if isinstance(targets, str) else tuple(targets)
    on = ExplainOn(count=None, order="first", targets=classes)
    return Grid(
        datasets=(Entry("given", dataset),),
        models=(Entry(network.name, network),),
        trainers=(Entry("given", Trainer()),),
        explain_on=(Entry("explain_on", on),),
        explainers=explainers,
        metrics=metrics,
        seeds=(0,),
        draws=(draw,),
    )


def _entries(group: str, chosen: Chosen, kind: type) -> tuple[Entry[Any], ...]:
    if isinstance(chosen, str):
        raise ValueError(f"{group}s={chosen!r}: expected a list of names or components")
    pairs = chosen.items() if isinstance(chosen, Mapping) else [(_name(one), one) for one in chosen]
    entries = tuple(Entry(name.rpartition("/")[2], named(group, one) if isinstance(one, str) else one) for name, one in pairs)
    wrong = [entry for entry in entries if not isinstance(entry.component, kind)]
    if wrong or not entries:
        raise ValueError(
            f"{group}s: expected one or more names or {kind.__name__} components, got {wrong[0].component if wrong else 'none'}"
        )
    return tuple(Entry(label, entry.component) for entry, label in varying(entries).items())


def _name(one: str | Component) -> str:
    return one if isinstance(one, str) else type(one).__name__


def _network(model: nn.Module, channels: int, mean: tuple[float, ...], std: tuple[float, ...], rewrite: bool) -> nn.Module:
    """A copy that takes images in [0, 1], on the CPU and in eval mode."""
    for name, part in (("mean", mean), ("std", std)):
        if len(part) not in (1, channels) or (name == "std" and min(part) <= 0):
            raise ValueError(f"{name}={part}: expected 1 number, or {channels}, one for each channel; of std, above 0")
    if model.training:
        log.warning("model: expected a network in eval mode; a copy of it is evaluated in that mode")
    return prepared(copy.deepcopy(model).cpu(), channels, mean, std, rewrite)


def _arrays(
    network: nn.Module, pixels: Tensor, labels: Any, train: Any, masks: Any, class_names: Sequence[str]
) -> tuple[Arrays, tuple[str, ...]]:
    """What is given as a dataset's content, checked, and the classes' names."""
    with torch.inference_mode():
        logits = network(pixels[:2])
        predicted = _labels("labels", labels, len(pixels)) if labels is not None else _predicted(network, pixels)
    if logits.dim() != 2:
        raise ValueError(f"model: expected logits (N, K), got shape {tuple(logits.shape)}")
    names = tuple(class_names) or tuple(map(str, range(logits.shape[1])))
    if len(names) != logits.shape[1]:
        raise ValueError(f"class_names: expected {logits.shape[1]} names, as the model has so many outputs, got {len(names)}")
    if int(predicted.max()) >= len(names):
        raise ValueError(f"labels: expected numbers below {len(names)}, as the model has so many outputs, got {int(predicted.max())}")
    test = Split(pixels, predicted)
    known = test if train is None else Split(_images("train", train[0]), _labels("train", train[1], len(train[0])))
    if known.images.shape[1:] != pixels.shape[1:]:
        raise ValueError(f"train: expected images of shape {tuple(pixels.shape[1:])}, as images, got {tuple(known.images.shape[1:])}")
    true = None if masks is None else torch.as_tensor(np.asarray(masks)).bool()
    if true is not None and (len(true) != len(pixels) or true.shape[-2:] != pixels.shape[-2:] or true.dim() not in (3, 4)):
        raise ValueError(f"masks of shape {tuple(true.shape)}: expected (N, H, W) or (N, K, H, W), as images")
    return Arrays(known, known, test, true), names


def _predicted(network: nn.Module, pixels: Tensor) -> Tensor:
    return torch.cat([network(part).argmax(1) for part in pixels.split(64)])


def _images(name: str, values: Any) -> Tensor:
    found = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values))
    if found.dim() != 4 or not len(found):
        raise ValueError(f"{name} of shape {tuple(found.shape)}: expected (N, C, H, W)")
    if not found.is_floating_point() or not found.isfinite().all() or found.min() < 0 or found.max() > 1:
        between = f"{float(found.min()):.3g} to {float(found.max()):.3g}"
        hint = "normalization is told by mean and std"
        raise ValueError(f"{name} of type {found.dtype}, from {between}: expected floating point numbers in [0, 1]; {hint}")
    return found.float()


def _labels(name: str, values: Any, count: int) -> Tensor:
    found = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values))
    if found.shape != (count,) or found.is_floating_point() or int(found.min()) < 0:
        raise ValueError(f"{name} of shape {tuple(found.shape)} and type {found.dtype}: expected ({count},) integers from 0")
    return found.long()
