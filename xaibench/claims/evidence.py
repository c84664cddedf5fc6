"""What claims are checked on: the explanations of one configuration with all its seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaibench.component import ConfigurationError
from xaibench.grid import Cell
from xaibench.identity import predict_key
from xaibench.stages import arrays_of
from xaibench.tables.longtable import Results

NAMES = ("dataset", "model", "trainer", "explainer")


@dataclass(frozen=True)
class Evidence:
    """Explanations of one configuration, on the test images that all its J seeds explained.

    Attributes
    ----------
    names
        Labels of data set, model, trainer and explainer.
    classes
        Names of the K classes.
    index, labels
        (B,): position in the test set and true class.
    images
        (B, H, W): intensity, averaged over channels.
    targets
        (T,): the explained classes.
    values
        (J, B, T, H, W): attributions, summed over channels and averaged over draws.
    probabilities
        (J, B, K).
    """

    names: dict[str, str]
    classes: tuple[str, ...]
    index: NDArray[np.int64]
    labels: NDArray[np.int64]
    images: NDArray[np.float64]
    targets: NDArray[np.int64]
    values: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(J, B): the predicted class."""
        return self.probabilities.argmax(axis=2)

    def take(self, keep: NDArray[np.bool_]) -> Evidence:
        """The same with some of the images, by a (B,) mask."""
        parts = {name: getattr(self, name)[keep] for name in ("index", "labels", "images")}
        parts |= {name: getattr(self, name)[:, keep] for name in ("values", "probabilities")}
        return dataclasses.replace(self, **parts)

    def position(self, target: int) -> int:
        """Where a class stands among the explained ones."""
        found = np.flatnonzero(self.targets == target)
        if not len(found):
            raise ConfigurationError(f"claims: class {target}: expected one of the explained classes {self.targets.tolist()}")
        return int(found[0])


def evidences(results: Results) -> Iterator[Evidence]:
    """The evidence of each (dataset, model, trainer, explainer) of a grid.

    Raises
    ------
    ConfigurationError
        If the images are not all explained for the same classes.
    """
    groups: dict[tuple[str, ...], dict[str, Cell]] = {}
    for cell, _ in results.found:
        facts = results.facts(cell)
        group = groups.setdefault(tuple(facts[name] for name in NAMES), {})
        group.setdefault(cell.explaining.key, cell)
    for names, cells in groups.items():
        yield _evidence(dict(zip(NAMES, names, strict=True)), cells, results)


def _evidence(names: dict[str, str], cells: dict[str, Cell], results: Results) -> Evidence:
    stored: dict[int, list[dict[str, Any]]] = {}
    logits: dict[int, Any] = {}
    dataset = next(iter(cells.values())).dataset.component
    for key, cell in cells.items():
        artifact, predicted = results.store.read("explain", key), results.store.read("predict", predict_key(cell.training)[0])
        if artifact is not None and predicted is not None:
            stored.setdefault(cell.seed, []).append({name: tensor.numpy() for name, tensor in artifact.tensors.items()})
            logits[cell.seed] = predicted.tensors["logits"]
    each = [draw for draws in stored.values() for draw in draws]
    targets = np.unique(np.concatenate([draw["targets"] for draw in each]), axis=0)
    if len(targets) != 1:
        raise ConfigurationError("explain_on.targets: expected `all` or a list of classes for claims about explanations")
    index = np.array(sorted(set.intersection(*(set(draw["index"].tolist()) for draw in each))), dtype=np.int64)
    values = [np.mean([_summed(draw, index) for draw in draws], axis=0) for draws in stored.values()]
    test = arrays_of(dataset).test
    return Evidence(
        names=names,
        classes=dataset.classes,
        index=index,
        labels=test.labels.numpy()[index],
        images=test.images.numpy()[index].mean(axis=1, dtype=np.float64),
        targets=targets[0],
        values=np.stack(values),
        probabilities=np.stack([logits[seed].double().softmax(1).numpy()[index] for seed in stored]),
    )


def _summed(draw: dict[str, Any], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B, T, H, W) attributions of the images in `index`, which ascends as the stored ones do."""
    return draw["values"][np.isin(draw["index"], index)].sum(axis=2, dtype=np.float64)
