"""What the metrics share that ask a second, independently trained classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from xaibench import autoencoders
from xaibench.component import ConfigurationError
from xaibench.metrics.counterfactual_metric import CounterfactualMetric
from xaibench.problem import Counterfactuals, Explainer, Model, Problem, Training
from xaibench.scoring import Requires

SEEDS_APART = 1000
"""From the classifier's seed to the oracle's: far more than the seeds of a study, so that no oracle is another cell's classifier."""


@dataclass(frozen=True)
class OracleMetric(CounterfactualMetric):
    """A metric with an oracle: a second classifier, trained on the same images as the first is, from another seed.

    Parameters
    ----------
    oracle
        Its architecture; null: that of the classifier. Numbers of different oracles are not comparable.

    Raises
    ------
    ConfigurationError
        If the oracle is no classifier.
    """

    paper: ClassVar[str] = "Hvilshøj et al., 2021 (arXiv:2111.00177)"
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.TRAINING})

    oracle: Model | None = None

    def __post_init__(self) -> None:
        """Raise unless the oracle is a classifier."""
        super().__post_init__()
        if self.oracle is not None and self.oracle.reconstructs:
            raise ConfigurationError(f"{type(self).__name__}.oracle={self.oracle!r}: expected a classifier")

    def needs(self, training: Training, explainer: Explainer[Counterfactuals]) -> Mapping[str, Training]:
        """The oracle."""
        return {"oracle": replace(training, model=self.oracle or training.model, seed=training.seed + SEEDS_APART)}

    def unsupported(self, problem: Problem, explainer: Explainer[Counterfactuals]) -> str | None:
        """Needs a model, and images that the oracle takes."""
        reason = super().unsupported(problem, explainer)
        if reason is None and self.oracle is not None and problem.probabilities is not None:
            return self.oracle.unsupported((*problem.images.shape[1:],), problem.probabilities.shape[1])
        return reason


def asked(problem: Problem, images: Tensor) -> Tensor:
    """(n, K): the oracle's logits; of no images, none (n = 0) without asking it."""
    if not len(images):
        return images.new_empty(0, 0 if problem.probabilities is None else problem.probabilities.shape[1])
    return autoencoders.through(problem, problem.helpers["oracle"], images)
