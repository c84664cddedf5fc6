"""The scores that explainers get on the same images, side by side: what every comparison between them starts from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaibench.blocks import natural
from xaibench.problem import Family
from xaibench.stats import Floats
from xaibench.tables import Part, by_image

CLASSIFIER = ["dataset", "model", "trainer"]


@dataclass(frozen=True)
class Scored:
    """The scores of all explainers by one metric on one classifier's configuration.

    Attributes
    ----------
    names
        Data set, model and trainer.
    metric, metric_family
        The metric's label, and its family.
    by_explainer
        (images, seeds) by explainer, in natural order, averaged over targets and draws; NaN where there is none. Every explainer has the
        same images and seeds.
    families
        The explainers' families.
    sign
        1 where higher is better or neither is, -1 where lower is.
    """

    names: dict[str, str]
    metric: str
    metric_family: str
    by_explainer: dict[str, Floats]
    families: dict[str, str]
    sign: float

    @property
    def controls(self) -> frozenset[str]:
        """The explainers that are controls."""
        return frozenset(name for name, family in self.families.items() if family == Family.CONTROL.value)

    def good(self) -> Floats:
        """(images, seeds, explainers): the scores times `sign`, so that higher is better."""
        return self.sign * np.stack(list(self.by_explainer.values()), axis=2)

    def means(self) -> Floats:
        """(explainers, seeds), how good: the mean over the images that all explainers have a score for, with all seeds, times `sign`.

        NaN where there is no such image.
        """
        values = self.good()
        shared = values[np.isfinite(values).all(axis=(1, 2))]
        found: Floats = shared.mean(axis=0).T if len(shared) else np.full(values.shape[:0:-1], np.nan)
        return found

    def best_control(self) -> tuple[str, float] | None:
        """The control with the best mean over the images that it has a score for, with all seeds, and that mean; None if none has any."""
        own = {name: values.mean(axis=1) for name, values in self.by_explainer.items() if name in self.controls}
        means = {name: float(unit[np.isfinite(unit)].mean()) for name, unit in own.items() if np.isfinite(unit).any()}
        return max(means.items(), key=lambda item: (self.sign * item[1], item[0]), default=None)


def scored_tables(long: pd.DataFrame, score: str = "value") -> Iterator[Scored]:
    """One for each (dataset, model, trainer, metric) of the long table."""
    chosen = long[long["score"] == score] if len(long) else long
    return scored_parts(by_image(chosen)) if len(chosen) else iter(())


def scored_parts(found: Iterable[Part]) -> Iterator[Scored]:
    """The same of what `tables.by_image` gives, of one score."""
    groups: dict[tuple[str, ...], list[Part]] = {}
    for part in found:
        groups.setdefault(tuple(str(part.facts[name]) for name in (*CLASSIFIER, "metric")), []).append(part)
    for (*names, metric), parts in sorted(groups.items()):
        axes = [np.unique(np.concatenate([np.unique(part.places[axis]) for part in parts])) for axis in (0, 1)]
        by_name = {str(part.facts["explainer"]): part for part in parts}
        explainers = sorted(by_name, key=natural)
        facts = parts[0].facts
        yield Scored(
            dict(zip(CLASSIFIER, names, strict=True)),
            metric,
            str(facts["metric_family"]),
            {name: by_name[name].spread(*axes) for name in explainers},
            {name: str(by_name[name].facts["family"]) for name in explainers},
            1.0 if pd.isna(facts["higher_is_better"]) or bool(facts["higher_is_better"]) else -1.0,
        )
