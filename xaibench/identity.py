"""What stages compute, by its identity: the key and the readable spec of each result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from xaibench import altering, keys
from xaibench.component import Component, describe
from xaibench.influence.analysis import Influence
from xaibench.problem import Explainer, Training
from xaibench.scoring import Metric
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn
from xaibench.training import Trainer

VERSIONS = {"train": 1, "predict": 2, "explain": 2, "evaluate": 1, "influence": 1}
"""Part of every key: raised when a stage itself, and no component or shared module, gives other results."""


@dataclass(frozen=True)
class Explaining:
    """An explanation's identity: a classifier, the images and classes, the explainer, and the draw."""

    training: Training
    explain_on: ExplainOn
    explainer: Explainer[Any]
    draw: int = 0

    @property
    def rng(self) -> Rng:
        """The explainer's draws."""
        return Rng(self.training.seed, self.draw, type(self.explainer).__name__)

    @cached_property
    def key(self) -> str:
        """Its key, computed once for all that is done with this object."""
        return explain_key(self)[0]


@lru_cache(maxsize=100_000)
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
    if training.origin is not None and training.procedure is not None:
        parts["procedure"] = training.procedure
        parents |= _helper_keys(training.procedure.needs(training.origin))
    if training.only is not None:
        more["only"] = training.only
    spec = _spec("train", parts, parents, **more)
    return keys.digest(spec), spec


def predict_key(training: Training) -> tuple[str, dict[str, Any]]:
    """Key and spec of a classifier's logits on the test set."""
    spec = _spec("predict", {}, {"train": train_key(training)[0]})
    return keys.digest(spec), spec


@lru_cache(maxsize=100_000)
def explain_key(explaining: Explaining) -> tuple[str, dict[str, Any]]:
    """Key and spec of explanations."""
    parts = {"explainer": explaining.explainer, "explain_on": explaining.explain_on}
    parents = {"predict": predict_key(explaining.training)[0]} | _helper_keys(explaining.explainer.needs(explaining.training))
    spec = _spec("explain", parts, parents, seed=explaining.training.seed, draw=explaining.draw)
    return keys.digest(spec), spec


def evaluate_key(
    explaining: Explaining, metric: Metric[Any], score_on: ExplainOn | None = None, explained: str = ""
) -> tuple[str, dict[str, Any]]:
    """Key and spec of a metric's scores, of all explained images or of some; `explained` is the explanation's key, where it is known."""
    parents = {"explain": explained or explain_key(explaining)[0]} | _helper_keys(metric.needs(explaining.training, explaining.explainer))
    more: dict[str, Any] = {"seed": explaining.training.seed, "draw": explaining.draw}
    if score_on is not None:
        more["score_on"] = describe(score_on)
    spec = keys.spec("evaluate", {"metric": metric, "version": metric.version}, parents, **more)
    return keys.digest(spec), spec


def influence_key(training: Training, influence: Influence) -> tuple[str, dict[str, Any]]:
    """Key and spec of an influence analysis of a classifier's predictions."""
    spec = _spec("influence", {"influence": influence}, {"predict": predict_key(training)[0]}, seed=training.seed)
    return keys.digest(spec), spec


def _spec(stage: str, component: Any, parents: dict[str, str], **more: Any) -> dict[str, Any]:
    return keys.spec(stage, component, parents, stage_version=VERSIONS[stage], **more)


def _helper_keys(needs: Mapping[str, Training]) -> dict[str, str]:
    return {f"helper.{name}": train_key(training)[0] for name, training in sorted(needs.items())}
