"""Claims about the scores of explainers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaibench.claims.base import Claim
from xaibench.component import Fraction
from xaibench.longtable import Results
from xaibench.stats import Floats


@dataclass(frozen=True)
class Scored:
    """The scores of all explainers on one classifier's configuration.

    Attributes
    ----------
    names
        Data set and model.
    by_explainer
        (images, seeds) by explainer, averaged over targets and draws; every explainer has the same images and seeds.
    controls
        The explainers that are controls.
    sign
        1 where higher is better or neither is, -1 where lower is.
    """

    names: dict[str, str]
    by_explainer: dict[str, Floats]
    controls: frozenset[str]
    sign: float

    def means(self) -> Floats:
        """(explainers, seeds), how good: the mean over the images that all explainers have a score for, with all seeds, times `sign`."""
        stacked = np.stack(list(self.by_explainer.values()))
        return self.sign * stacked[:, np.isfinite(stacked).all(axis=(0, 2))].mean(axis=1)


@dataclass(frozen=True, kw_only=True)
class ScoreClaim(Claim):
    """A claim about the scores that metrics give to explainers.

    Parameters
    ----------
    topic
        A heading in plain words.
    least_accuracy
        Classifiers with a lower mean test accuracy over the seeds are left out.
    datasets
        The labels of the data sets that it is about; all of the study's if there are none.
    """

    least_accuracy: Fraction = 0.0
    datasets: tuple[str, ...] = ()

    def scored(self, results: Results, metric: str, score: str = "value") -> Iterator[Scored]:
        """The scores of a metric, by its label in the study, on each classifier's configuration."""
        table = results.scores()
        chosen = table[(table["metric"] == metric) & (table["score"] == score)] if len(table) else table
        if self.datasets and len(chosen):
            chosen = chosen[chosen["dataset"].isin(self.datasets)]
        for (dataset, model), part in chosen.groupby(["dataset", "model"], sort=True, observed=True) if len(chosen) else ():
            if self._accuracy(results, str(dataset), str(model)) >= self.least_accuracy:
                yield _scored({"dataset": str(dataset), "model": str(model)}, part)

    def _accuracy(self, results: Results, dataset: str, model: str) -> float:
        """Mean test accuracy over the seeds; the names of the explained images (`dataset[correct=true]`) do not matter."""
        found = []
        for names, training, _, _ in results.classifiers():
            if dataset.startswith(names["dataset"]) and names["model"] == model:
                label, guess, _ = results.prediction(training)
                found.append(float((label == guess).mean()))
        return float(np.mean(found)) if found else 0.0


def _scored(names: dict[str, str], part: pd.DataFrame) -> Scored:
    wide = part.pivot_table(index="index", columns=["explainer", "seed"], values="value", aggfunc="mean", dropna=False, observed=True)
    explainers: list[str] = sorted(set(map(str, part["explainer"])))
    shared = [name for name in explainers if name in wide.columns.get_level_values(0)]
    controls: frozenset[str] = frozenset(map(str, part.loc[part["family"] == "control", "explainer"]))
    direction = part["higher_is_better"].iloc[0]
    sign = 1.0 if pd.isna(direction) or bool(direction) else -1.0
    return Scored(names, {name: wide[name].to_numpy(dtype=np.float64) for name in shared}, controls, sign)
