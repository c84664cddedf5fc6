"""The scores that explainers get on the same images, side by side: what every comparison between them starts from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from xaibench.problem import Family
from xaibench.stats.intervals import Floats, image_weights, without_rounding
from xaibench.tables.aggregate import Part, by_image
from xaibench.tables.blocks import natural

CLASSIFIER = ["dataset", "model", "trainer"]


@dataclass(frozen=True)
class Scored:
    """The scores of all explainers by one metric on one classifier's configuration, see `without_rounding`.

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
    planned
        On how many images an explainer was to be scored with all seeds, where that is not all of them: a budget allows fewer, of the
        same ones, and other images may be chosen for other seeds.
    images
        Their positions in the test set; 0, 1, ... where nothing is said.
    """

    names: dict[str, str]
    metric: str
    metric_family: str
    by_explainer: dict[str, Floats]
    families: dict[str, str]
    sign: float
    planned: dict[str, int] = field(default_factory=dict)
    images: tuple[int, ...] = ()

    @property
    def controls(self) -> frozenset[str]:
        """The explainers that are controls."""
        return frozenset(name for name, family in self.families.items() if family == Family.CONTROL.value)

    def good(self) -> Floats:
        """(images, seeds, explainers): the scores times `sign`, so that higher is better."""
        return self.sign * np.stack(list(self.by_explainer.values()), axis=2)

    def usable(self) -> list[str]:
        """The explainers with a defined score, for all seeds, on at least half of the images that they were scored on."""
        good = self.good()
        counts = np.isfinite(good).all(axis=1).sum(axis=0)
        return [
            name for name, count in zip(self.by_explainer, counts, strict=True) if count and 2 * count >= self.planned.get(name, len(good))
        ]

    def shared(self, explainers: Sequence[str]) -> Floats:
        """(images, seeds, explainers), higher is better: of the images that all of these have a score for, with all seeds."""
        values = self.sign * np.stack([self.by_explainer[name] for name in explainers], axis=2)
        found: Floats = values[np.isfinite(values).all(axis=(1, 2))]
        return found

    def resampled(self, explainers: Sequence[str], resamples: int) -> Floats:
        """(1 + R, seeds, explainers), higher is better: means over the images that `shared` has, and with these weighed anew.

        The weights are those of `image_weights`, so that replicates of several metrics are of the same images.
        """
        values = self.sign * np.stack([self.by_explainer[name] for name in explainers], axis=2)
        kept = np.isfinite(values).all(axis=(1, 2))
        weights = image_weights(tuple(np.asarray(self.images or range(len(kept)))[kept].tolist()), resamples)
        found: Floats = np.tensordot(weights, values[kept], axes=1)
        return found

    def means(self, explainers: Sequence[str]) -> Floats:
        """(explainers, seeds), how good: the mean over the images that all of these have a score for, with all seeds, times `sign`.

        NaN where there is no such image.
        """
        shared = self.shared(explainers)
        found: Floats = shared.mean(axis=0).T if len(shared) else np.full(shared.shape[:0:-1], np.nan)
        return found

    def best_control(self) -> tuple[str, float] | None:
        """The usable control with the best mean over the images that it has a score for, with all seeds, and that mean, if there is one."""
        own = {name: self.by_explainer[name].mean(axis=1) for name in self.usable() if name in self.controls}
        means = {name: float(unit[np.isfinite(unit)].mean()) for name, unit in own.items()}
        return max(means.items(), key=lambda item: (self.sign * item[1], item[0]), default=None)


def complete(scored: Sequence[Scored]) -> tuple[list[Scored], list[str]]:
    """Metrics and explainers of which every metric has every explainer among its `usable` ones.

    One by one the metric or explainer that lacks the largest share of the others is left out.
    """
    metrics, explainers = list(scored), sorted({name for one in scored for name in one.usable()}, key=natural)
    known = np.array([[name in set(one.usable()) for name in explainers] for one in metrics]).reshape(len(metrics), len(explainers))
    while not known.all():
        of_metrics, of_explainers = known.mean(axis=1), known.mean(axis=0)
        axis, place = (0, of_metrics.argmin()) if of_metrics.min() <= of_explainers.min() else (1, of_explainers.argmin())
        known = np.delete(known, place, axis=axis)
        del (metrics, explainers)[axis][place]
    return metrics, explainers


def by_classifier(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each classifier's configuration, with its name: the trainer is part of it where there are several."""
    keys = CLASSIFIER if table["trainer"].nunique() > 1 else CLASSIFIER[:2]
    for names, part in table.groupby(keys, sort=True):
        yield " / ".join(map(str, names)), part


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
            {name: without_rounding(by_name[name].spread(*axes), str(facts["metric_family"])) for name in explainers},
            {name: str(by_name[name].facts["family"]) for name in explainers},
            1.0 if pd.isna(facts["higher_is_better"]) or bool(facts["higher_is_better"]) else -1.0,
            {name: int((np.unique(by_name[name].places[0], return_counts=True)[1] == len(axes[1])).sum()) for name in explainers},
            tuple(int(image) for image in axes[0]),
        )
