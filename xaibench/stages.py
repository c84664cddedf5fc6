"""The stages of a cell: train, predict, explain, evaluate. Each is a pure function of its key's content, kept in the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from xaibench import altering, keys
from xaibench.component import Component, ConfigurationError
from xaibench.cost import Cost, chunk_size, measure
from xaibench.environment import environment
from xaibench.explaining import completeness_error, explained, flags
from xaibench.perturb import logits
from xaibench.problem import Arrays, Attributions, Dataset, Explainer, Problem, Training
from xaibench.scoring import Metric, Scores, scored
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn, background
from xaibench.store import Artifact, Store
from xaibench.training import Trainer, fit, load

VERSIONS = {"train": 1, "predict": 2, "explain": 2, "evaluate": 1}
"""Part of every key: raised when a stage itself, and no component or shared module, gives other results."""

log = logging.getLogger(__name__)


class UnsupportedError(Exception):
    """A component cannot work on this problem; the message says why."""


@dataclass(frozen=True)
class Explaining:
    """An explanation's identity: a classifier, the images and classes, the explainer, and the draw."""

    training: Training
    explain_on: ExplainOn
    explainer: Explainer
    draw: int = 0

    @property
    def rng(self) -> Rng:
        """The explainer's draws."""
        return Rng(self.training.seed, self.draw, type(self.explainer).__name__)


@dataclass(frozen=True)
class Runtime:
    """Where and how things run. No component sees it, and no key depends on it.

    Attributes
    ----------
    device
        ``cpu``, ``cuda``, ``cuda:1``, or ``auto``: a GPU where there is one.
    threads
        Threads for one job; None leaves torch's choice.
    progress
        Whether training shows a progress bar.
    """

    device: str = "auto"
    threads: int | None = None
    progress: bool = False

    def torch_device(self) -> torch.device:
        """The device."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return torch.zeros(0, device=self.device).device
        except (RuntimeError, AssertionError) as error:
            raise ConfigurationError(f"runtime.device={self.device!r}: expected auto, cpu, or a GPU that is there ({error})") from error


def train_key(training: Training) -> tuple[str, dict[str, Any]]:
    """Key and spec of a trained classifier."""
    trainer = training.trainer
    assert isinstance(trainer, Trainer)
    parts: dict[str, Component] = {"dataset": training.dataset, "model": training.model, "trainer": trainer.resolve(training.model.recipe)}
    parents, more = {}, {"checksum": training.dataset.checksum(), "seed": training.seed}
    if training.origin is not None:
        parents, more["fine_tune"] = {"origin": train_key(training.origin)[0]}, training.fine_tune
    if training.alteration is not None:
        parts["alteration"], more["altering"] = training.alteration, altering.VERSION
    spec = _spec("train", parts, parents, **more)
    return keys.digest(spec), spec


def predict_key(training: Training) -> tuple[str, dict[str, Any]]:
    """Key and spec of a classifier's logits on the test set."""
    spec = _spec("predict", {}, {"train": train_key(training)[0]})
    return keys.digest(spec), spec


def explain_key(explaining: Explaining) -> tuple[str, dict[str, Any]]:
    """Key and spec of explanations."""
    parts = {"explainer": explaining.explainer, "explain_on": explaining.explain_on}
    parents = {"predict": predict_key(explaining.training)[0]} | _helper_keys(explaining.explainer.needs(explaining.training))
    spec = _spec("explain", parts, parents, seed=explaining.training.seed, draw=explaining.draw)
    return keys.digest(spec), spec


def evaluate_key(explaining: Explaining, metric: Metric) -> tuple[str, dict[str, Any]]:
    """Key and spec of a metric's scores."""
    parents = {"explain": explain_key(explaining)[0]} | _helper_keys(metric.needs(explaining.training, explaining.explainer))
    spec = keys.spec(
        "evaluate", {"metric": metric, "version": metric.version}, parents, seed=explaining.training.seed, draw=explaining.draw
    )
    return keys.digest(spec), spec


@dataclass(frozen=True)
class Stages:
    """Runs stages against a store.

    Attributes
    ----------
    store, runtime
        Where results are kept, and how they are computed.
    report
        Called with (stage, key, cached) after each stage, for progress.
    """

    store: Store
    runtime: Runtime
    report: Callable[[str, str, bool], None] = lambda stage, key, cached: None

    def train(self, training: Training) -> Artifact:
        """Weights (`weights.NAME`) and history (`history.COLUMN`)."""

        def compute() -> Artifact:
            dataset, trainer = training.dataset, training.trainer
            assert isinstance(trainer, Trainer)
            how = f" ({type(training.alteration).__name__})" if training.alteration else ""
            log.info("training %s on %s, seed %d%s", type(training.model).__name__, type(dataset).__name__, training.seed, how)
            with measure() as cost:
                arrays, device, start = arrays_of(dataset), self.runtime.torch_device(), None
                if training.origin is not None and training.fine_tune:
                    start = self.train(training.origin).group("weights")
                if training.origin is not None and training.alteration is not None:
                    arrays = altering.altered(
                        training.alteration, arrays, dataset, self.network(training.origin), training.seed, train_key(training.origin)[0]
                    )
                trained = fit(training.model, arrays, len(dataset.classes), trainer, training.seed, device, self.runtime.progress, start)
            weights = {f"weights.{name}": value for name, value in trained.weights.items()}
            history = {f"history.{column}": value for column, value in trained.history.items()}
            return Artifact(weights | history, self._provenance(cost))

        return self._stage("train", train_key(training), compute)

    def predict(self, training: Training) -> Artifact:
        """`logits` (N, K) of the whole test set, and its `labels` (N,)."""

        def compute() -> Artifact:
            test = arrays_of(training.dataset).test
            network, images = self.network(training), test.images.to(self.runtime.torch_device())
            chunk = chunk_size(network, tuple(images.shape[1:]), images.device)
            with measure(network) as cost:
                count = torch.zeros(len(images), 1, dtype=torch.int64, device=images.device)
                problem = Problem(network, images, count, count[:, 0], count[:, 0], images[:1], chunk=chunk)
                found = logits(problem, len(images), lambda rows: images[rows])
            if not found.isfinite().all():
                raise ValueError(f"model={type(training.model).__name__}: expected finite logits, got NaN or infinite ones")
            return Artifact({"logits": found, "labels": test.labels}, self._provenance(cost))

        return self._stage("predict", predict_key(training), compute)

    def explain(self, explaining: Explaining) -> Artifact:
        """`values` (B, T, C or 1, H, W), `index` (B,), `targets` and `flag` (B, T) (`explaining.FLAGS`).

        Of methods that claim completeness also `total` and `completeness_error` (B, T).
        """

        def compute() -> Artifact:
            problem = self.problem(explaining, {})
            reason = explaining.explainer.unsupported(problem)
            if reason:
                raise UnsupportedError(reason)
            problem = replace(problem, helpers=self._helpers(explaining.explainer.needs(explaining.training)))
            with measure(problem.model) as cost:
                explanation = explained(explaining.explainer, problem, explaining.rng)
            tensors = {"values": explanation.values, "index": problem.index, "targets": problem.targets, "flag": flags(explanation)}
            if explanation.total is not None:
                tensors |= {"total": explanation.total, "completeness_error": completeness_error(explanation)}
            return Artifact(tensors, self._provenance(cost))

        return self._stage("explain", explain_key(explaining), compute)

    def evaluate(self, explaining: Explaining, metric: Metric) -> Artifact:
        """`values.NAME` (B, T), `curves.NAME` (B, T, S + 1), `fractions` (S + 1,), `index` and `targets`."""

        def compute() -> Artifact:
            found = self.explain(explaining)
            problem = self.problem(explaining, {})
            reason = metric.unsupported(problem, explaining.explainer)
            if reason:
                raise UnsupportedError(reason)
            problem = replace(problem, helpers=self._helpers(metric.needs(explaining.training, explaining.explainer)))
            device, total = problem.images.device, found.tensors.get("total")
            again = partial(_again, explaining, self._helpers(explaining.explainer.needs(explaining.training)))
            explanation = Attributions(found.tensors["values"].to(device), None if total is None else total.to(device), again)
            rng = Rng(explaining.training.seed, explaining.draw, type(metric).__name__)
            with measure(problem.model, *problem.helpers.values()) as cost:
                scores = scored(metric, problem, explanation, rng)
            return Artifact(_score_tensors(scores, problem), self._provenance(cost))

        return self._stage("evaluate", evaluate_key(explaining, metric), compute)

    def network(self, training: Training) -> nn.Module:
        """The trained network on the device, in eval mode."""
        weights = self.train(training).group("weights")
        dataset = training.dataset
        return load(training.model, dataset.shape, len(dataset.classes), weights, self.runtime.torch_device())

    def problem(self, explaining: Explaining, needs: Mapping[str, Training]) -> Problem:
        """What is explained, on the device, with trained helpers."""
        training, explain_on, device = explaining.training, explaining.explain_on, self.runtime.torch_device()
        arrays, found = arrays_of(training.dataset), self.predict(training).tensors["logits"]
        labels, predicted, seed = arrays.test.labels, found.argmax(1), training.dataset.subset_seed
        rows = explain_on.rows(labels, predicted, seed)
        network, masks = self.network(training), arrays.test_masks
        targets = explain_on.classes(labels[rows], predicted[rows], len(training.dataset.classes))
        return Problem(
            model=network,
            images=arrays.test.images[rows].to(device),
            targets=targets.to(device),
            labels=labels[rows].to(device),
            index=rows.to(device),
            background=background(arrays, explain_on, seed).to(device),
            probabilities=found[rows].softmax(1).to(device),
            masks=None if masks is None else _masks_of(masks[rows], targets).to(device),
            helpers=self._helpers(needs),
            chunk=chunk_size(network, training.dataset.shape, device),
        )

    def _helpers(self, needs: Mapping[str, Training]) -> dict[str, nn.Module]:
        return {name: self.network(helper) for name, helper in needs.items()}

    def _stage(self, stage: str, key_and_spec: tuple[str, dict[str, Any]], compute: Callable[[], Artifact]) -> Artifact:
        key, spec = key_and_spec
        artifact, cached = self.store.get(stage, key, spec, compute)
        self.report(stage, key, cached)
        return artifact

    def _provenance(self, cost: Cost) -> dict[str, Any]:
        spent = {"seconds": cost.seconds, "peak_bytes": cost.peak_bytes, "forward": cost.forward, "backward": cost.backward}
        return spent | environment(self.runtime.torch_device())


@lru_cache(maxsize=2)
def arrays_of(dataset: Dataset) -> Arrays:
    """A dataset's content, kept for the next stage."""
    return dataset.load()


def _spec(stage: str, component: Any, parents: dict[str, str], **more: Any) -> dict[str, Any]:
    return keys.spec(stage, component, parents, stage_version=VERSIONS[stage], **more)


def _again(explaining: Explaining, helpers: Mapping[str, nn.Module], problem: Problem) -> Attributions:
    """Explains another problem as `explaining` does."""
    return explained(explaining.explainer, replace(problem, helpers=helpers), explaining.rng)


def _masks_of(masks: Tensor, targets: Tensor) -> Tensor:
    """(B, T, H, W): the targets' masks, of (B, H, W) for all classes or (B, K, H, W) for each."""
    if masks.dim() == 3:
        return masks[:, None].expand(-1, targets.shape[1], -1, -1)
    return masks[torch.arange(len(targets))[:, None], targets]


def _helper_keys(needs: Mapping[str, Training]) -> dict[str, str]:
    return {f"helper.{name}": train_key(training)[0] for name, training in sorted(needs.items())}


def _score_tensors(scores: Scores, problem: Problem) -> dict[str, Tensor]:
    shape = problem.targets.shape
    wrong = [name for name, value in scores.values.items() if value.shape != shape]
    if wrong or "value" not in scores.values:
        raise ValueError(f"scores {list(scores.values)}: expected 'value' among them, each of shape {tuple(shape)}")
    tensors = {f"values.{name}": value for name, value in scores.values.items()}
    tensors |= {f"curves.{name}": curve for name, curve in scores.curves.items()}
    if scores.fractions is not None:
        tensors["fractions"] = scores.fractions
    return tensors | {"index": problem.index, "targets": problem.targets}
