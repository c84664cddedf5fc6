"""Explain and evaluate a network in memory: the same as `xaibench run`, from Python."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from torch import Tensor, nn

from xaibench import arguments
from xaibench.component import Component, ConfigurationError
from xaibench.configuration import named
from xaibench.disk import StoreError
from xaibench.execution import retry, run
from xaibench.given import GivenImages, GivenNetwork, given
from xaibench.grid import Entry, Grid
from xaibench.identity import Explaining
from xaibench.labels import varying
from xaibench.planning import blank, check, plan, untrained
from xaibench.problem import Attributions, Explainer, Training
from xaibench.progress import watching
from xaibench.scoring import Metric
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages, UnsupportedError, arrays_of
from xaibench.store import Store
from xaibench.tables.longtable import Results
from xaibench.training import Trainer

log = logging.getLogger(__name__)

Entries = tuple[Entry[Any], ...]
Chosen = Sequence[str | Component] | Mapping[str, Component]


@torch.inference_mode(False)
@torch.enable_grad()
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
        Gives logits (N, K) of K >= 2 classes, in float32, the same ones twice. It is copied: mode, weights and device stay as they are.
    images
        (N, C, H, W), numbers in [0, 1]; what the network expects beyond that are `mean` and `std`.
    labels
        (N,), the true classes; None takes the predicted ones.
    explainers, metrics
        Names, as `xaibench list` has them, components with fields of their own, or both; or components by name.
    train
        Training images and labels. A hundred of them, drawn at random but always the same ones, stand for "absent" where a method needs
        such a background; metrics that train networks, such as `roar`, train and validate them with all. None takes the images
        themselves as the background, and what needs a network to be trained is skipped.
    masks
        (N, H, W) or (N, K, H, W), the true relevance, where it is known.
    targets
        The classes to explain, as `ExplainOn.targets`: "predicted", "label", "all", a list, ...
    mean, std
        What the network expects to be subtracted from images, and to divide by: a list of one number, or of one for each channel.
    class_names
        Of the classes; empty: their numbers.
    rewrite
        Whether functions and shared activations become modules of their own, as for `Checkpoint`. The rewritten network must give the
        same logits: one with hooks on the whole network, or that cannot be traced, needs False.
    draw
        Drives what is random in explainers and metrics.
    device
        As ``runtime.device``.
    store
        A folder where results are kept, and found by the next call for a network of the same weights, attributes, code and logits;
        None keeps nothing.

    Returns
    -------
    DataFrame
        The long table, as ``scores.parquet`` of a study: a row for each explainer, metric, image, class and score, with the `value` and,
        in `flag`, what is wrong with the map. ``attrs["skipped"]`` tells by (explainer, metric) what could not be scored and why,
        ``attrs["failed"]`` what failed.

    Raises
    ------
    ConfigurationError
        With the argument, its value and what was expected.
    """
    chosen = _entries("explainer", explainers, Explainer), _entries("metric", metrics, Metric)
    pixels = arguments.images("images", images)
    network, logits = arguments.network(model, pixels, mean, std, rewrite)
    content = arguments.content(pixels, logits, labels, train, masks, class_names)
    on = arguments.explain_on(targets, content.arrays.test.labels, logits)
    with given(content, network, model) as found, _stages(device, store) as stages:
        grid = _grid(*found, on, *chosen, draw)
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


@torch.inference_mode(False)
@torch.enable_grad()
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
        The signed attributions (N, T, C or 1, H, W) of each explainer; what is not supported, gives no attributions, or fails is left out,
        with a warning that says why.

    Raises
    ------
    ConfigurationError
        As `evaluate`.
    """
    given_all = (model, images, explainers, train, targets, mean, std, rewrite, draw, device, store)
    return {one.name: one.values for one in explanations(*given_all) if one.values is not None}


@dataclass(frozen=True)
class Explained:
    """The attributions (N, T, C or 1, H, W) of an explainer, or None, why there are none, and whether it failed: it raised an error."""

    name: str
    values: NDArray[np.float32] | None
    reason: str = ""
    failed: bool = False


def explanations(
    model: nn.Module,
    images: ArrayLike | Tensor,
    explainers: Chosen,
    train: tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None = None,
    targets: Any = "predicted",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    rewrite: bool = True,
    draw: int = 0,
    device: str = "auto",
    store: str | Path | None = None,
) -> Iterator[Explained]:
    """The explanations of `explain`, one after the other; also what was left out, told as a warning."""
    chosen = _entries("explainer", explainers, Explainer)
    pixels = arguments.images("images", images)
    network, logits = arguments.network(model, pixels, mean, std, rewrite)
    content = arguments.content(pixels, logits, None, train, None, ())
    on = arguments.explain_on(targets, content.arrays.test.labels, logits)
    with given(content, network, model) as found, _stages(device, store) as stages:
        grid = _grid(*found, on, chosen, (), draw)
        check(grid)
        training = Training(*found, grid.trainers[0].component, 0)
        for entry in chosen:
            one = _explained(entry, Explaining(training, on, entry.component, draw), stages)
            if one.values is None:
                log.warning("%s: %s%s", one.name, "failed: " if one.failed else "", one.reason)
            yield one


def _explained(entry: Entry[Any], explaining: Explaining, stages: Stages) -> Explained:
    if entry.component.gives is not Attributions:
        return Explained(entry.name, None, f"gives {entry.component.gives.__name__.lower()}, and only attributions are shown")
    try:
        return Explained(entry.name, stages.explain(explaining).tensors["values"].numpy())
    except StoreError:  # nothing that comes after it could be kept either
        raise
    except UnsupportedError as error:
        return Explained(entry.name, None, str(error))
    except Exception as error:  # one explainer's error must not take the others' maps away; it is told
        log.debug("%s", entry.name, exc_info=True)
        return Explained(entry.name, None, f"{type(error).__name__}: {error}", failed=True)


@contextlib.contextmanager
def _stages(device: str, store: str | Path | None) -> Iterator[Stages]:
    """The stages with a store."""
    runtime = Runtime(device)
    runtime.torch_device()  # raises for one that is not there
    held = (arrays_of, untrained, blank)  # the user's images and network, which are let go at the end
    try:
        with tempfile.TemporaryDirectory() as scratch:
            yield Stages(Store(arguments.folder(store or scratch)), runtime)
    finally:
        for cached in held:
            cached.cache_clear()


def _grid(dataset: GivenImages, network: GivenNetwork, on: ExplainOn, explainers: Entries, metrics: Entries, draw: int) -> Grid:
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
        raise ConfigurationError(f"{group}s={chosen!r}: expected a list of names or components")
    pairs = chosen.items() if isinstance(chosen, Mapping) else [(_name(one), one) for one in chosen]
    entries = tuple(Entry(name.rpartition("/")[2], named(group, one) if isinstance(one, str) else one) for name, one in pairs)
    wrong = [entry for entry in entries if not isinstance(entry.component, kind)]
    if wrong or not entries:
        raise ConfigurationError(
            f"{group}s: expected one or more names or {kind.__name__} components, got {wrong[0].component if wrong else 'none'}"
        )
    return tuple(Entry(label, entry.component) for entry, label in varying(entries).items())


def _name(one: str | Component) -> str:
    return one if isinstance(one, str) else type(one).__name__
