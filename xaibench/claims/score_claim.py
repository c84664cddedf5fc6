"""Claims about the scores of explainers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from xaibench.claims.base import Claim
from xaibench.component import Fraction
from xaibench.stats.paired import Scored, scored_tables
from xaibench.tables.longtable import Results


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
        chosen = table[table["metric"] == metric] if len(table) else table
        if self.datasets and len(chosen):
            chosen = chosen[chosen["dataset"].isin(self.datasets)]
        for scored in scored_tables(chosen, score):
            if self._accuracy(results, scored.names) >= self.least_accuracy:
                yield scored

    def _accuracy(self, results: Results, wanted: Mapping[str, str]) -> float:
        """Mean test accuracy over the seeds; the names of the explained images (`dataset[correct=true]`) do not matter."""
        found = []
        for names, training, _, _ in results.classifiers():
            dataset, same = names["dataset"], all(names[key] == wanted[key] for key in ("model", "trainer"))
            if same and (wanted["dataset"] == dataset or wanted["dataset"].startswith(f"{dataset}[")):
                label, guess, _ = results.prediction(training)
                found.append(float((label == guess).mean()))
        return float(np.mean(found)) if found else 0.0
