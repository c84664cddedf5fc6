"""How far a metric can be relied on: what becomes of its scores under small and under strong perturbations.

Hedström et al., The meta-evaluation problem in explainable AI: identifying reliable estimators with MetaQuantus, TMLR 2023
(arXiv:2302.07265). Arrays only: scores go in, the four consistencies and their mean come out.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import stats as distributions

from xaibench.stats.intervals import Floats

Mask = NDArray[np.bool_]

NAMES = ("iac_nr", "iac_ar", "iec_nr", "iec_ar", "mc")
"""The scores: intra-consistency and inter-consistency under small (noise resilience) and strong perturbations (adversary reactivity)."""

NORMAL = "asymptotic" if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 15) else "approx"  # scipy renamed it
SETTINGS: dict[str, Any] = {"zero_method": "zsplit", "method": NORMAL, "correction": False}
"""Of the signed-rank test: half of the ranks of equal scores to either sign, so that scores that never change have p = 1; and the normal
approximation for any number of images, so that an explainer's p-value does not depend on whether others have ties."""


@dataclass(frozen=True)
class Trial:
    """A metric's scores of L explainers on N images, before and after K perturbations in each of I iterations.

    Attributes
    ----------
    original
        (L, N): without perturbation.
    small, strong
        (I, K, L, N): after small and after strong perturbations.
    kept, changed
        (I, K, N): the images that count, whose prediction is the same after a small one, and another after a strong one.
    """

    original: Floats
    small: Floats
    strong: Floats
    kept: Mask
    changed: Mask

    def take(self, images: NDArray[Any]) -> Trial:
        """The same for some of the images, by number or by mask."""
        original, small, strong = (part[..., images] for part in (self.original, self.small, self.strong))
        return Trial(original, small, strong, self.kept[..., images], self.changed[..., images])


@dataclass(frozen=True)
class Reliability:
    """What `reliability` finds, by the names in `NAMES`.

    Attributes
    ----------
    mean, low, high
        The score, and its 95 % interval over images and iterations.
    resampled
        (5, R): the scores of the bootstrap's resamples, of which intervals for means over several trials of the same images are made.
    """

    mean: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    resampled: Floats


def consistency(trial: Trial, higher_is_better: bool) -> Floats:
    """Intra- and inter-consistency of a metric, and their mean: each in [0, 1], higher is better.

    Intra-consistency is the p-value of Wilcoxon's two-sided signed-rank test between an explainer's scores without and with
    perturbation, averaged over explainers and perturbations: p under small perturbations, 1 - p under strong ones. Inter-consistency
    under small perturbations is the share of (image, explainer) whose rank among the explainers of the image stays; under strong ones the
    share whose score gets worse. Equal scores share their rank, and are not worse.

    A metric that ignores perturbations has (1, 0, 1, 0), mean .5; random scores have (.5, .5, 1 / L, .5); scores that do not react to
    small perturbations, and are all worse after strong ones, tend to (1, 1, 1, 1).

    Parameters
    ----------
    trial
        The scores. An undefined score takes its (image, explainer) out, and its image out of the ranks.
    higher_is_better
        The metric's direction.

    Returns
    -------
    ndarray
        (5, I): the numbers in `NAMES` for each iteration; NaN where no image counts.

    References
    ----------
    Hedström et al. 2023 (arXiv:2302.07265), section 4. Differs: equal scores share a rank; their code orders them by position.
    """
    found = np.stack(
        [
            _mean(signed_rank(trial.original, trial.small, trial.kept)),
            1 - _mean(signed_rank(trial.original, trial.strong, trial.changed)),
            _mean(ranks_kept(trial)),
            _mean(worse(trial, higher_is_better)),
        ]
    )
    return np.concatenate([found, found.mean(axis=0, keepdims=True)])


def signed_rank(original: Floats, perturbed: Floats, counted: Mask) -> Floats:
    """(I, K, L): p-values of Wilcoxon's two-sided signed-rank test over the images that count (`SETTINGS`).

    NaN where there are none.
    """
    difference = perturbed - original
    found = np.full(difference.shape[:-1], np.nan)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")  # of scipy, where few images are left
        for place in np.ndindex(counted.shape[:-1]):
            chosen = difference[place][:, counted[place]]
            whole = np.isfinite(chosen).all(axis=1)
            if chosen.size and whole.any():
                found[place][whole] = distributions.wilcoxon(chosen[whole], axis=1, **SETTINGS).pvalue
            for row in np.flatnonzero(~whole):  # each of its own length
                defined = chosen[row][np.isfinite(chosen[row])]
                found[(*place, row)] = distributions.wilcoxon(defined, **SETTINGS).pvalue if defined.size else np.nan
    return found


def ranks_kept(trial: Trial) -> Floats:
    """(I, K): share of (image, explainer) whose rank among the explainers is the same after a small perturbation."""
    counted = trial.kept & np.isfinite(trial.original).all(axis=0) & np.isfinite(trial.small).all(axis=2)
    before, after = (distributions.rankdata(np.nan_to_num(scores), axis=-2) for scores in (trial.original, trial.small))
    return _share(before == after, np.broadcast_to(counted[:, :, None], after.shape))


def worse(trial: Trial, higher_is_better: bool) -> Floats:
    """(I, K): share of (image, explainer) whose score is worse after a strong perturbation."""
    counted = trial.changed[:, :, None] & np.isfinite(trial.original) & np.isfinite(trial.strong)
    return _share(trial.strong < trial.original if higher_is_better else trial.strong > trial.original, counted)


def undefined(trial: Trial) -> float:
    """Share of scores that are not defined, of those of the perturbed images that count."""
    pairs = ((trial.kept, trial.small), (trial.changed, trial.strong))
    lost = sum(float((counted[:, :, None] & ~np.isfinite(scores + trial.original)).sum()) for counted, scores in pairs)
    total = sum(float(counted.sum()) for counted, _ in pairs) * len(trial.original)
    return lost / total if total else np.nan


def reliability(trial: Trial, higher_is_better: bool, resamples: int = 100) -> Reliability:
    """The consistencies, averaged over iterations, with intervals for other images and other perturbations.

    The interval is the score plus and minus 1.96 standard deviations over a bootstrap of images crossed with iterations. Not the
    quantiles of the bootstrap: a resample repeats images, and the p-value of a test that takes them as independent is too small in the
    mean (for random scores .39, not .5); its spread is about right: in simulation .85 to 1 of the intervals hold the expected mean score.
    """
    whole = consistency(trial, higher_is_better).mean(axis=1)
    return _with_interval(whole, bootstrap(trial, higher_is_better, resamples))


def together(parts: list[Reliability]) -> Reliability:
    """The mean over trials of the same images, with as many iterations and resamples."""
    means = np.array([[part.mean[name] for name in NAMES] for part in parts])
    return _with_interval(means.mean(axis=0), np.stack([part.resampled for part in parts]).mean(axis=0))


def bootstrap(trial: Trial, higher_is_better: bool, resamples: int) -> Floats:
    """(5, R): the scores of resampled images and iterations; the same ones for trials of equal size."""
    draw = np.random.default_rng(0)
    images, iterations = trial.original.shape[1], len(trial.small)
    found = np.empty((len(NAMES), resamples))
    for number in range(resamples):
        rows, chosen = draw.integers(images, size=images), draw.integers(iterations, size=iterations)
        found[:, number] = consistency(trial.take(rows), higher_is_better)[:, chosen].mean(axis=1)
    return found


def _with_interval(means: Floats, resampled: Floats) -> Reliability:
    reach = distributions.norm.ppf(0.975) * resampled.std(axis=1, ddof=1)
    low, high = np.clip(means - reach, 0, 1), np.clip(means + reach, 0, 1)
    mean, low_of, high_of = (dict(zip(NAMES, map(float, values), strict=True)) for values in (means, low, high))
    return Reliability(mean, low_of, high_of, resampled)


def _share(true: Any, counted: Any) -> Floats:
    """(I, K): share of what is true among what counts, over explainers and images."""
    with np.errstate(invalid="ignore"):
        share: Floats = (true & counted).sum(axis=(2, 3)) / counted.sum(axis=(2, 3))
    return share


def _mean(values: Floats) -> Floats:
    """(I,): the mean of what is defined, over all axes but the first."""
    flat = values.reshape(len(values), -1)
    defined = np.isfinite(flat)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(defined, flat, 0).sum(axis=1) / defined.sum(axis=1)
    return mean
