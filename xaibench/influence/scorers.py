"""Any score that takes sample weights, under the weights that move one feature to one target."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xaibench.influence.histograms import Floats, coded
from xaibench.influence.targets import Targets
from xaibench.influence.tilting import tilted

Scorer = Callable[[NDArray, NDArray, Floats], float]
"""Takes labels (N,), predictions (N, ...) and weights (N,)."""


def scores(
    features: NDArray,
    labels: NDArray,
    predictions: NDArray,
    scorer: Scorer,
    taus: tuple[float, ...],
    targets: Targets,
    progress: Callable[[float], None] = lambda share: None,
) -> Floats:
    """(F, S): the score for each target of each feature; the scorer is called F S times.

    What is a mean over images is got much faster by `reweighting.reweighted`; this is for scores that are not, such as the area under a
    ROC curve: ``lambda y, p, w: roc_auc_score(y, p[:, 1], sample_weight=w)``.

    Parameters
    ----------
    features, taus, targets, progress
        See `reweighting.reweighted`.
    labels, predictions
        Handed to the scorer as they are.
    scorer
        Gives one number; NaN is kept.
    """
    found = np.full((features.shape[1], len(taus)), np.nan)
    ones = np.ones((len(features), 1))
    for block in coded(features, 8 * len(taus)):
        (histograms,) = block.histograms(np.zeros_like(ones), ones)
        weights = tilted(histograms.values, histograms.counts, targets(histograms, taus)).weights
        each = np.divide(weights, histograms.counts[:, None], where=histograms.counts[:, None] > 0, out=np.zeros_like(weights))
        for feature, column in enumerate(block.numbers.T):
            for place in range(len(taus)):
                found[block.features.start + feature, place] = scorer(labels, predictions, each[feature, place, column])
            progress((block.features.start + feature + 1) / features.shape[1])
    return found
