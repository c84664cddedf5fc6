"""The long table of a grid, and the tables beside it, read from the store: nothing is computed here but means of curves."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from xaibench.explaining import FLAGS, PAIR_FLAGS
from xaibench.grid import Cell, Entry, Grid
from xaibench.identity import Explaining, influence_key, predict_key, train_key
from xaibench.labels import flat, varying
from xaibench.planning import cells
from xaibench.problem import Attributions, Training
from xaibench.stats.intervals import crossed_interval
from xaibench.store import Artifact, Store

PARTS = ("dataset", "model", "trainer", "explain_on", "explainer", "metric")
COLUMNS = (
    *("metric_version", "draw", "seed", "index", "target", "label", "predicted", "score", "value", "flag"),
    *("dataset", "model", "trainer", "explainer", "metric", "family", "metric_family", "higher_is_better"),
)
"""Of the long table; the components' fields follow."""
Parts = tuple[Entry[Any], ...]
_parts = operator.attrgetter(*PARTS)


@dataclass(frozen=True)
class Results:
    """What the store holds of a grid.

    Attributes
    ----------
    grid, store
        Cells that are not in the store, or whose classifier is not, are left out.
    """

    grid: Grid
    store: Store

    @cached_property
    def found(self) -> list[tuple[Cell, Artifact]]:
        """All cells with their scores."""
        pairs = [(cell, self.store.read("evaluate", cell.key)) for cell in cells(self.grid)]
        return [(cell, artifact) for cell, artifact in pairs if artifact is not None and cell.training in self._predictions]

    def read(self) -> None:
        """Read everything, so that the store finds what is damaged: also what belongs to a classifier that is."""
        for explaining in {cell.explaining for cell in cells(self.grid)} - self._explaining.keys():
            self.store.read("explain", explaining.key)

    def facts(self, cell: Cell) -> dict[str, Any]:
        """The columns that name a cell: labels, seed, draw, families, direction, version, and every field of every component."""
        return {**self._facts(_parts(cell)), "seed": cell.seed, "draw": cell.draw}

    def _facts(self, parts: Parts) -> dict[str, Any]:
        """Those of all cells with these parts, which are the same objects for all of them."""
        found = self._known.get(parts)
        if found is None:
            explainer, metric = (entry.component for entry in parts[-2:])
            labels = {part: self._labels[part][entry] for part, entry in zip(PARTS, parts, strict=True)}
            where = labels.pop("explain_on").removeprefix("explain_on")
            found = labels | {"dataset": labels["dataset"] + where}
            found |= {"family": explainer.family.value, "metric_family": metric.family.value}
            found |= {"higher_is_better": metric.higher_is_better, "metric_version": metric.version}
            for part, entry in zip(PARTS, parts, strict=True):
                found |= {f"{part}.{name}": json.dumps(value) for name, value in flat(entry.component).items()}
            self._known[parts] = found
        return found

    @cached_property
    def _known(self) -> dict[Parts, dict[str, Any]]:
        return {}

    def scores(self) -> pd.DataFrame:
        """The long table: one row for each cell, image, target and score, with every field.

        Columns that name the cell are categorical (their content is stored once); `index`, `target`, `label`, `predicted`, `score`,
        `value` and `flag` (`explaining.FLAGS`: what is wrong with the map) belong to the row.
        """
        return self._scores

    @cached_property
    def _scores(self) -> pd.DataFrame:
        if not self.found:
            return pd.DataFrame(columns=list(COLUMNS))
        numbers = {parts: number for number, parts in enumerate(dict.fromkeys(_parts(cell) for cell, _ in self.found))}
        names = sorted({name for _, artifact in self.found for name in artifact.group("values")})
        scores = {name: number for number, name in enumerate(names)}
        blocks = [self._rows(cell, artifact, scores) for cell, artifact in self.found]
        sizes = [len(block["value"]) for block in blocks]
        rows = pd.DataFrame({column: np.concatenate([block[column] for block in blocks]) for column in blocks[0]})
        facts = pd.DataFrame([self._facts(parts) for parts in numbers])
        codes = np.repeat([numbers[_parts(cell)] for cell, _ in self.found], sizes)
        rows.insert(0, "seed", np.repeat([cell.seed for cell, _ in self.found], sizes))
        rows.insert(0, "draw", np.repeat([cell.draw for cell, _ in self.found], sizes))
        rows.insert(0, "metric_version", facts.pop("metric_version").to_numpy()[codes])
        for column in facts:
            content = pd.Categorical(facts[column])
            rows[column] = pd.Categorical.from_codes(content.codes[codes], dtype=content.dtype)
        rows["score"] = pd.Categorical.from_codes(rows["score"].to_numpy(), dtype=pd.CategoricalDtype(names))
        rows["flag"] = pd.Categorical.from_codes(rows["flag"].to_numpy(), dtype=pd.CategoricalDtype(list(FLAGS)))
        return rows

    def curves(self) -> pd.DataFrame:
        """Mean curves with intervals (images crossed with seeds): one row for each configuration, curve and fraction."""
        groups: dict[tuple[Any, ...], list[tuple[Cell, Artifact]]] = {}
        for cell, artifact in self.found:
            if artifact.group("curves"):
                facts = self._facts(_parts(cell))
                key = tuple(facts[name] for name in ("dataset", "model", "trainer", "explainer", "family", "metric"))
                groups.setdefault(key, []).append((cell, artifact))
        frames = [self._mean_curves(key, members) for key, members in groups.items()]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def costs(self) -> pd.DataFrame:
        """Passes, seconds and peak memory of each explanation and each evaluation: facts of one run on one machine."""
        rows, explaining = [], dict(self._explaining)
        for cell, artifact in self.found:
            facts = self._facts(_parts(cell))
            names = {name: facts[name] for name in ("dataset", "model", "trainer", "explainer")}
            names |= {"seed": cell.seed, "draw": cell.draw}
            explained = explaining.pop(cell.explaining, None)
            if explained is not None:
                rows.append({"stage": "explain", **names, "metric": "", **explained.spent})
            rows.append({"stage": "evaluate", **names, "metric": facts["metric"], **_spent(artifact)})
        return pd.DataFrame(rows)

    def quality(self) -> pd.DataFrame:
        """What is known of the maps, or of the pairs a counterfactual is looked for, before any metric: one row for each explanation.

        How many there are, how many have each flag (NaN where maps, or pairs, cannot have it), and mean and largest completeness error
        (NaN where none is claimed).
        """
        cells = {cell.explaining: cell for cell, _ in self.found}
        rows = []
        for explaining, explained in self._explaining.items():
            cell = cells[explaining]
            facts = self._facts(_parts(cell))
            names = {name: facts[name] for name in ("dataset", "model", "trainer", "explainer", "family")}
            of_pairs = explaining.explainer.gives is not Attributions
            known = {*PAIR_FLAGS, "not finite"} if of_pairs else {*FLAGS} - {"", *PAIR_FLAGS}
            flagged = {name: int((explained.flag == number).sum()) for number, name in enumerate(FLAGS) if name in known}
            error = explained.completeness_error
            errors = {"completeness_error": float(np.mean(error)), "largest_completeness_error": float(np.max(error))}
            rows.append({**names, "seed": cell.seed, "draw": cell.draw, "maps": explained.flag.size, **flagged, **errors})
        return pd.DataFrame(rows)

    @cached_property
    def _explaining(self) -> dict[Explaining, _Explained]:
        wanted = dict.fromkeys(cell.explaining for cell, _ in self.found)
        read = {explaining: self.store.read("explain", explaining.key) for explaining in wanted}
        return {explaining: _Explained.of(artifact) for explaining, artifact in read.items() if artifact is not None}

    def classifiers(self) -> Iterator[tuple[dict[str, Any], Training, Artifact, Artifact]]:
        """Each classifier with its names, weights and history, and predictions."""
        for dataset, model, trainer, seed in self.grid.classifiers():
            training = Training(dataset.component, model.component, trainer.component, seed)
            trained = self.store.read("train", train_key(training)[0])
            predicted = self.store.read("predict", predict_key(training)[0])
            if trained is not None and predicted is not None:
                names = {part: self._labels[part][entry] for part, entry in (("dataset", dataset), ("model", model), ("trainer", trainer))}
                yield {**names, "seed": seed}, training, trained, predicted

    def influences(self) -> Iterator[tuple[dict[str, Any], Training, Artifact]]:
        """Each influence analysis with its names: those of the classifier, and `influence`."""
        entries = self.grid.influences
        for names, training, _, _ in self.classifiers():
            for entry in entries:
                found = self.store.read("influence", influence_key(training, entry.component)[0])
                if found is not None:
                    yield names | {"influence": entry.name}, training, found

    @cached_property
    def _labels(self) -> dict[str, dict[Entry[Any], str]]:
        grid = self.grid
        axes: tuple[tuple[Entry[Any], ...], ...] = (
            grid.datasets,
            grid.models,
            grid.trainers,
            grid.explain_on,
            grid.explainers,
            grid.metrics,
        )
        found = {part: varying(entries) for part, entries in zip(PARTS, axes, strict=True)}
        if grid.budget is not None:  # fewer images of the same choice, not another choice
            on = found["explain_on"]
            found["explain_on"] = {Entry(entry.name, grid.budget.reduced(entry.component)): label for entry, label in on.items()} | on
        return found

    def prediction(self, training: Training) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N,) each, for the whole test set: true class, predicted class, and its probability."""
        return self._predictions[training]

    @cached_property
    def _predictions(self) -> dict[Training, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        found = {}
        for _, training, _, predicted in self.classifiers():
            probability, guess = predicted.tensors["logits"].softmax(1).max(1)
            found[training] = predicted.tensors["labels"].numpy(), guess.numpy(), probability.numpy()
        return found

    def _rows(self, cell: Cell, artifact: Artifact, scores: Mapping[str, int]) -> dict[str, np.ndarray]:
        """What belongs to the rows of a cell; its scores by number."""
        index, targets = artifact.tensors["index"].numpy(), artifact.tensors["targets"].numpy()
        labels, predicted, _ = self._predictions[cell.training]
        values = {name: value.double().numpy().reshape(-1) for name, value in artifact.group("values").items()}
        images = np.repeat(index, targets.shape[1])
        explained = self._explaining.get(cell.explaining)
        flag = np.zeros(targets.shape, dtype=np.uint8) if explained is None else explained.flag
        if explained is not None and len(explained.index) > len(index):
            flag = flag[np.isin(explained.index, index)]
        own = {
            "index": images.astype(np.int32),
            "target": targets.reshape(-1).astype(np.int16),
            "label": labels[images].astype(np.int16),
            "predicted": predicted[images].astype(np.int16),
        }
        return {
            **{name: np.tile(column, len(values)) for name, column in own.items()},
            "score": np.repeat([scores[name] for name in values], len(images)),
            "value": np.concatenate(list(values.values())),
            "flag": np.tile(flag.reshape(-1), len(values)),
        }

    def _mean_curves(self, key: tuple[Any, ...], members: list[tuple[Cell, Artifact]]) -> pd.DataFrame:
        shared = set.intersection(*(set(artifact.tensors["index"].tolist()) for _, artifact in members))
        frames = []
        for name in members[0][1].group("curves"):
            by_seed: dict[int, list[np.ndarray]] = {}
            for cell, artifact in members:
                keep = np.isin(artifact.tensors["index"].numpy(), list(shared))
                by_seed.setdefault(cell.seed, []).append(artifact.tensors[f"curves.{name}"].double().numpy()[keep].mean(axis=1))
            stacked = np.stack([np.mean(draws, axis=0) for draws in by_seed.values()], axis=1)
            found = crossed_interval(stacked)
            numbers = {"fraction": members[0][1].tensors["fractions"].double().numpy(), "mean": found.mean}
            frames.append(pd.DataFrame({"curve": name, **numbers, "low": found.low, "high": found.high, "images": found.images}))
        names = ("dataset", "model", "trainer", "explainer", "family", "metric")
        return pd.concat(frames, ignore_index=True).assign(**dict(zip(names, key, strict=True)))


@dataclass(frozen=True)
class _Explained:
    """Of an explanation: cost, and for each (image, target) the flag and the completeness error (NaN where none is claimed)."""

    spent: dict[str, Any]
    index: np.ndarray
    flag: np.ndarray
    completeness_error: np.ndarray

    @staticmethod
    def of(artifact: Artifact) -> _Explained:
        flag = artifact.tensors["flag"].numpy()
        error = artifact.tensors.get("completeness_error")
        return _Explained(
            _spent(artifact), artifact.tensors["index"].numpy(), flag, np.full(flag.shape, np.nan) if error is None else error.numpy()
        )


def _spent(artifact: Artifact) -> dict[str, Any]:
    return {name: artifact.provenance.get(name) for name in ("forward", "backward", "seconds", "peak_bytes")}
