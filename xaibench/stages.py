"""The stages of a cell: train, predict, explain, evaluate. Each is a pure function of its key's content, kept in the store."""

from __future__ import annotations

import logging
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xaibench import keys
from xaibench.component import Component, ConfigurationError
from xaibench.cost import Cost, chunk_size, measure
from xaibench.explaining import completeness_error, explained, flags
from xaibench.perturb import logits
from xaibench.problem import Arrays, Attributions, Dataset, Explainer, Metric, Problem, Scores, Training
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
    spec = _spec("train", parts, {}, checksum=training.dataset.checksum(), seed=training.seed)
    return keys.digest(spec), spec


def predict_key(training: Training) -> tuple[str, dict[str, Any]]:
    """Key and spec of a classifier's logits on the test set."""
    spec = _spec("predict", {}, {"train": train_key(training)[0]})
    return keys.digest(spec), spec


def explain_key(explaining: Explaining) -> tuple[str, dict[str, Any]]:
    """Key and spec of explanations."""
    parts = {"explainer": explaining.explainer, "explain_on": explaining.explain_on}
    parents = {"predict": predict_key(explaining.training)[0]} | _helper_keys(explaining.explainer.needs())
    spec = _spec("explain", parts, parents, seed=explaining.training.seed, draw=explaining.draw)
    return keys.digest(spec), spec


def evaluate_key(explaining: Explaining, metric: Metric) -> tuple[str, dict[str, Any]]:
    """Key and spec of a metric's scores."""
    parents = {"explain": explain_key(explaining)[0]} | _helper_keys(metric.needs())
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
            log.info("training %s on %s, seed %d", type(training.model).__name__, type(dataset).__name__, training.seed)
            with measure() as cost:
                arrays, device = arrays_of(dataset), self.runtime.torch_device()
                trained = fit(training.model, arrays, len(dataset.classes), trainer, training.seed, device, self.runtime.progress)
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
            problem = self.problem(explaining, explaining.explainer.needs())
            reason = explaining.explainer.unsupported(problem)
            if reason:
                raise UnsupportedError(reason)
            rng = Rng(explaining.training.seed, explaining.draw, type(explaining.explainer).__name__)
            with measure(problem.model) as cost:
                explanation = explained(explaining.explainer, problem, rng)
            tensors = {"values": explanation.values, "index": problem.index, "targets": problem.targets, "flag": flags(explanation)}
            if explanation.total is not None:
                tensors |= {"total": explanation.total, "completeness_error": completeness_error(explanation)}
            return Artifact(tensors, self._provenance(cost))

        return self._stage("explain", explain_key(explaining), compute)

    def evaluate(self, explaining: Explaining, metric: Metric) -> Artifact:
        """`values.NAME` (B, T), `curves.NAME` (B, T, S + 1), `fractions` (S + 1,), `index` and `targets`."""

        def compute() -> Artifact:
            explained = self.explain(explaining)
            problem = self.problem(explaining, metric.needs())
            reason = metric.unsupported(problem, explaining.explainer)
            if reason:
                raise UnsupportedError(reason)
            device, total = problem.images.device, explained.tensors.get("total")
            explanation = Attributions(explained.tensors["values"].to(device), None if total is None else total.to(device))
            rng = Rng(explaining.training.seed, explaining.draw, type(metric).__name__)
            with measure(problem.model) as cost:
                scores = metric(problem, explanation, rng)
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
        network = self.network(training)
        masks = arrays.test_masks
        return Problem(
            model=network,
            images=arrays.test.images[rows].to(device),
            targets=explain_on.classes(labels[rows], predicted[rows], len(training.dataset.classes)).to(device),
            labels=labels[rows].to(device),
            index=rows.to(device),
            background=background(arrays, explain_on, seed).to(device),
            probabilities=found[rows].softmax(1).to(device),
            masks=None if masks is None else masks[rows].to(device),
            helpers={name: self.network(helper) for name, helper in needs.items()},
            chunk=chunk_size(network, training.dataset.shape, device),
        )

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


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, hardware, threads and the code's commit."""
    packages = ("torch", "pytorch-lightning", "captum", "shap", "numpy", "xaibench")
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "commit": commit(),
    }


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The commit of the checkout that this code lies in, with `+` if it was changed since; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@lru_cache(maxsize=1)
def processor() -> str:
    """The CPU's name and the number of logical cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor() or platform.machine()


def _spec(stage: str, component: Any, parents: dict[str, str], **more: Any) -> dict[str, Any]:
    return keys.spec(stage, component, parents, stage_version=VERSIONS[stage], **more)


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
