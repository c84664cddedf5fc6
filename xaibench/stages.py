"""The stages of a cell: train, predict, explain, evaluate. Each is a pure function of its key's content, kept in the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn

from xaibench import altering, payloads
from xaibench.component import ConfigurationError
from xaibench.cost import Cost, chunk_size, measure
from xaibench.environment import environment
from xaibench.identity import Explaining, evaluate_key, explain_key, influence_key, predict_key, train_key
from xaibench.influence.analysis import Influence
from xaibench.perturb import logits
from xaibench.problem import Arrays, Dataset, Problem, Training
from xaibench.scoring import Metric, Scores, scored, unsupported
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn, background
from xaibench.store import Artifact, Store
from xaibench.training import Trained, Trainer, check_trainable, fit, fit_by, load, of_class

log = logging.getLogger(__name__)


class UnsupportedError(Exception):
    """A component cannot work on this problem; the message says why."""


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
            special = training.alteration or training.procedure
            how = (f" ({type(special).__name__})" if special else "") + ("" if training.only is None else f" (class {training.only})")
            doing = "taking the given weights of" if training.model.fixed and training.origin is None else "training"
            log.info("%s %s on %s, seed %d%s", doing, type(training.model).__name__, type(training.dataset).__name__, training.seed, how)
            with measure() as cost:
                trained = self._trained(training)
            weights = {f"weights.{name}": value for name, value in trained.weights.items()}
            history = {f"history.{column}": value for column, value in trained.history.items()}
            return Artifact(weights | history, self._provenance(cost))

        return self._stage("train", train_key(training), compute)

    def predict(self, training: Training) -> Artifact:
        """`logits` (N, K) of the whole test set, and its `labels` (N,)."""

        def compute() -> Artifact:
            test = arrays_of(training.dataset).test
            network, device = self.network(training), self.runtime.torch_device()
            first, nothing = test.images[:1].to(device), torch.zeros(1, 1, dtype=torch.int64, device=device)
            chunk = chunk_size(network, tuple(first.shape[1:]), device)
            with measure(network) as cost:
                problem = Problem(network, first, nothing, nothing[:, 0], nothing[:, 0], first, chunk=chunk)
                # Chunk by chunk to the device: a whole test set of large images may not fit there.
                found = logits(problem, len(test.images), lambda rows: test.images[rows.to(test.images.device)].to(device))
            if not found.isfinite().all():
                raise ValueError(f"model={type(training.model).__name__}: expected finite logits, got NaN or infinite ones")
            return Artifact({"logits": found, "labels": test.labels}, self._provenance(cost))

        return self._stage("predict", predict_key(training), compute)

    def explain(self, explaining: Explaining) -> Artifact:
        """What `payloads.tensors` gives, with `index` (B,) and `targets` (B, T)."""

        def compute() -> Artifact:
            explainer = explaining.explainer
            problem = self._fit(self.problem(explaining, {}), explainer.unsupported, explainer.needs(explaining.training))
            with measure(problem.model) as cost:
                explanation = payloads.explained(explainer, problem, explaining.rng)
            tensors = payloads.tensors(explanation) | {"index": problem.index, "targets": problem.targets}
            return Artifact(tensors, self._provenance(cost))

        return self._stage("explain", explain_key(explaining), compute)

    def influence(self, training: Training, influence: Influence) -> Artifact:
        """What `Influence` gives for the whole test set and its predictions."""

        def compute() -> Artifact:
            test, found = arrays_of(training.dataset).test, self.predict(training).tensors["logits"]
            given = (test.images, found.softmax(1), test.labels, training.dataset.classes, training.seed)
            with measure() as cost, Progress(disable=not self.runtime.progress, transient=True) as bar:
                task = bar.add_task("influence", total=1.0)
                tensors = influence(*given, progress=lambda share: bar.update(task, completed=share))
            return Artifact(tensors, self._provenance(cost))

        return self._stage("influence", influence_key(training, influence), compute)

    def evaluate(self, explaining: Explaining, metric: Metric[Any], score_on: ExplainOn | None = None) -> Artifact:
        """`values.NAME` (B, T), `curves.NAME` (B, T, S + 1), `fractions` (S + 1,), `index`, `targets`: of `score_on` or all images."""

        def compute() -> Artifact:
            explainer, training = explaining.explainer, explaining.training
            found = self.explain(explaining)
            why = partial(unsupported, metric, explainer)
            whole = self.problem(explaining, {})
            rows = slice(None) if score_on is None else torch.isin(whole.index, self._rows(training, score_on)).cpu()
            problem = self._fit(whole.take(rows), why, metric.needs(training, explainer))
            again = partial(_again, explaining, self._helpers(explainer.needs(training)))
            explanation = payloads.restored(found.tensors, problem.images.device, again).take(rows)
            rng = Rng(training.seed, explaining.draw, type(metric).__name__)
            with measure(problem.model, *problem.helpers.values()) as cost:
                scores = scored(metric, problem, explanation, rng)
            return Artifact(_score_tensors(scores, problem), self._provenance(cost))

        return self._stage("evaluate", evaluate_key(explaining, metric, score_on), compute)

    def network(self, training: Training) -> nn.Module:
        """The trained network on the device, in eval mode."""
        weights = self.train(training).group("weights")
        dataset = training.dataset
        return load(training.model, dataset.shape, len(dataset.classes), weights, self.runtime.torch_device())

    def problem(self, explaining: Explaining, needs: Mapping[str, Training]) -> Problem:
        """What is explained, on the device, with trained helpers."""
        training, explain_on, device = explaining.training, explaining.explain_on, self.runtime.torch_device()
        arrays, found = arrays_of(training.dataset), self.predict(training).tensors["logits"]
        labels, seed, rows = arrays.test.labels, training.dataset.subset_seed, self._rows(training, explain_on)
        network, masks = self.network(training), arrays.test_masks
        targets = explain_on.classes(labels[rows], found[rows])
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
            training_data=arrays.train,
            chunk=chunk_size(network, training.dataset.shape, device),
        )

    def _rows(self, training: Training, explain_on: ExplainOn) -> Tensor:
        """Positions of the chosen images in the test set."""
        labels, found = arrays_of(training.dataset).test.labels, self.predict(training).tensors["logits"]
        return explain_on.rows(labels, found.argmax(1), training.dataset.subset_seed)

    def _trained(self, training: Training) -> Trained:
        """Fit the network to labels or images, altered or of one class alone where that is asked for, or by its own procedure."""
        dataset, model, trainer, seed, origin = training.dataset, training.model, training.trainer, training.seed, training.origin
        assert isinstance(trainer, Trainer)
        arrays, classes, start, progress = arrays_of(dataset), len(dataset.classes), None, self.runtime.progress
        if origin is None and model.fixed:
            return Trained(dict(model.pretrained(dataset.shape, classes) or {}), {})
        if training.only is not None:
            arrays = of_class(arrays, training.only)
        check_trainable(arrays)
        if origin is not None and training.procedure is not None:
            helpers = self._helpers(training.procedure.needs(origin))
            return fit_by(training.procedure, model, arrays, classes, self.network(origin), helpers, seed, progress)
        if origin is not None and training.fine_tune:
            start = self.train(origin).group("weights")
        if origin is not None and training.alteration is not None:
            arrays = altering.altered(training.alteration, arrays, dataset, self.network(origin), seed, train_key(origin)[0])
        return fit(model, arrays, classes, trainer, seed, self.runtime.torch_device(), progress, start)

    def _fit(self, problem: Problem, unsupported: Callable[[Problem], str | None], needs: Mapping[str, Training]) -> Problem:
        """The problem with helpers, which are trained only if it is supported without; it may be unsupported with them."""
        for helpers in ({}, needs) if needs else ({},):
            problem = replace(problem, helpers=self._helpers(helpers))
            reason = unsupported(problem)
            if reason:
                raise UnsupportedError(reason)
        return problem

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


def _again(explaining: Explaining, helpers: Mapping[str, nn.Module], problem: Problem) -> Any:
    """Explains another problem as `explaining` does."""
    return payloads.explained(explaining.explainer, replace(problem, helpers=helpers), explaining.rng)


def _masks_of(masks: Tensor, targets: Tensor) -> Tensor:
    """(B, T, H, W): the targets' masks, of (B, H, W) for all classes or (B, K, H, W) for each."""
    if masks.dim() == 3:
        return masks[:, None].expand(-1, targets.shape[1], -1, -1)
    return masks[torch.arange(len(targets))[:, None], targets]


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
