"""The scores that explainers get on the same images, side by side: what every comparison between them starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaibench.blocks import natural
from xaibench.problem import Family
from xaibench.stats import Floats
from xaibench.tables import by_image

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
    for (*names, metric), part in by_image(chosen).groupby([*CLASSIFIER, "metric"], sort=True, observed=True) if len(chosen) else ():
        wide = part.pivot(index="index", columns=["explainer", "seed"], values="value")
        explainers = sorted(set(map(str, part["explainer"])), key=natural)
        seeds = sorted(set(part["seed"]))
        families = dict(part[["explainer", "family"]].drop_duplicates().itertuples(index=False, name=None))
        direction = part["higher_is_better"].iloc[0]
        yield Scored(
            dict(zip(CLASSIFIER, map(str, names), strict=True)),
            str(metric),
            str(part["metric_family"].iloc[0]),
            {name: wide.reindex(columns=[(name, seed) for seed in seeds]).to_numpy(dtype=np.float64) for name in explainers},
            {name: str(families[name]) for name in explainers},
            1.0 if pd.isna(direction) or bool(direction) else -1.0,
        )
