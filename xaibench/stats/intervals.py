"""Statistics of scores: intervals for a mean over images crossed with seeds.

Every image is scored with every trained classifier, and both are samples: other images could have been drawn, and other seeds.
Scores of one classifier share its seed, so that a thousand images with three seeds are not three thousand independent observations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.power import normal_sample_size_one_tail
from statsmodels.stats.proportion import proportion_confint

from xaibench.problem import Family

VERSION = 1

ROUNDING = 2.0**-19
"""What float32 leaves of a zero: an error against an axiom, such as completeness, that is no larger is none."""

ONE_SEED = "this classifier only"
TWO_SEEDS = "two seeds"
ONE_IMAGE = "these images only"

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds it, for images crossed with seeds.

    Attributes
    ----------
    mean, low, high
        The mean over the images that are defined for every seed, and the interval's ends. Shape: the trailing axes of the values (a numpy
        scalar where there are none), as for `df`, `images` and `undefined`.
    df
        Degrees of freedom of the t quantile.
    images
        Images that entered.
    seeds
        Seeds that entered.
    undefined
        (image, seed) entries without a finite value. An image with one of them is left out for all seeds.
    note
        What a reader must know: "this classifier only" (one seed), "two seeds", "these images only" (fewer than two images);
        joined by "; ".
    """

    mean: Floats
    low: Floats
    high: Floats
    df: Floats
    images: Integers
    seeds: int
    undefined: Integers
    note: str


def crossed_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean score with a two-sided interval that allows for other images and for other training seeds.

    The model is that of two crossed random factors without replication, ``y_ij = mean + image_i + seed_j + residual_ij``, with mean squares
    A (images), B (seeds) and E (residual). The variance of the mean is estimated by ``(A + B - E) / (I J)``, its degrees of freedom by
    Satterthwaite's formula.

    A mean square of images or seeds below E says that its variance component is estimated as negative. The component is then set to
    zero: the factor's mean square is replaced by E, which gives ``A / (I J)`` with I - 1 degrees of freedom for a vanishing effect of
    the seed, ``B / (I J)`` with J - 1 for a vanishing effect of the image, and ``E / (I J)`` with (I - 1)(J - 1) for both. The
    variance only grows by it.

    With three seeds or more the coverage is near `level`. With two it falls short where the seeds differ much (in simulation .88 to .91
    for .95), hence the note.

    Parameters
    ----------
    values
        (I, J, ...) scores of I images with J seeds; further axes are separate problems. NaN and infinite entries are undefined.
    level
        Coverage, between 0 and 1.

    Returns
    -------
    Interval
        One seed: the t interval over images. One image: the t interval over seeds. One of each: the bounds are NaN. No image left: the mean
        is NaN as well. All values equal: an interval of width zero, with df that of the smaller factor.

    Raises
    ------
    ValueError
        If `values` has fewer than two axes or no seed, or `level` is not between 0 and 1.

    References
    ----------
    Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bulletin 2, 1946.
    Searle, Casella and McCulloch, Variance Components, 1992, chapter 4 (two-way crossed classification, random model).
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim < 2 or scores.shape[1] == 0:
        raise ValueError(f"values of shape {scores.shape}: expected (images, seeds, ...) with at least one seed")
    if not 0 < level < 1:
        raise ValueError(f"level={level!r}: expected a number between 0 and 1")
    seeds, finite = scores.shape[1], np.isfinite(scores)
    kept = finite.all(axis=1, keepdims=True)
    images = kept.sum(axis=(0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, variance, df = _mean_variance_df(scores, kept, images)
        half = np.where(variance == 0, 0.0, stats.t.ppf((1 + level) / 2, df) * np.sqrt(variance))
    half = np.where(df > 0, half, np.nan)
    seed_note = note_of(seeds)
    notes = [seed_note, ONE_IMAGE if (images < 2).any() else ""]
    undefined, note = (~finite).sum(axis=(0, 1)), "; ".join(filter(None, notes))
    return Interval(mean[()], (mean - half)[()], (mean + half)[()], df[()], images[()], seeds, undefined[()], note)


def _mean_variance_df(scores: Floats, kept: NDArray[np.bool_], images: Integers) -> tuple[Floats, Floats, Floats]:
    """Mean, the variance of the mean, and its degrees of freedom (0 where there is no variance to estimate)."""
    seeds = scores.shape[1]
    # A value from the data as origin: equal values then have deviations of exactly zero.
    origin = np.zeros((1, 1, *scores.shape[2:]))
    if len(scores):
        origin = np.take_along_axis(scores[:, :1], kept.argmax(axis=0, keepdims=True), axis=0)
    shifted = np.where(kept, scores - origin, 0.0)
    grand = shifted.sum(axis=(0, 1)) / (images * seeds)
    by_image = np.where(kept, shifted.mean(axis=1, keepdims=True) - grand, 0.0)
    by_seed = shifted.sum(axis=0, keepdims=True) / images - grand
    residual = np.where(kept, shifted - grand - by_image - by_seed, 0.0)
    df_a, df_b = np.maximum(images - 1, 0), np.full(images.shape, seeds - 1)
    a = seeds * (by_image**2).sum(axis=(0, 1)) / df_a
    b = images * (by_seed**2).sum(axis=(0, 1)) / df_b
    e = (residual**2).sum(axis=(0, 1)) / (df_a * df_b)
    mean = grand + origin[0, 0]
    if seeds == 1:
        return mean, a / images, df_a.astype(np.float64)
    use_a, use_b = a > e, b > e
    total = np.where(use_a, a, e) + np.where(use_b, b, e) - e
    spread = np.where(use_a, a**2 / df_a, 0.0) + np.where(use_b, b**2 / df_b, 0.0) + np.where(use_a == use_b, e**2 / (df_a * df_b), 0.0)
    df = np.where(total > 0, total**2 / spread, np.minimum(df_a, df_b))
    single = images == 1  # the seeds alone: there is no residual
    df = np.where(single, df_b, np.where(images == 0, 0, df))
    return mean, np.where(single, b, total) / (images * seeds), df.astype(np.float64)


def note_of(seeds: int) -> str:
    """What a reader must know of an interval over so few seeds."""
    return {1: ONE_SEED, 2: TWO_SEEDS}.get(seeds, "")


def added_half_widths(values: ArrayLike, half_widths: ArrayLike, level: float = 0.95) -> Floats:
    """Half-widths of intervals for means over seeds of numbers that each has an interval for other images.

    All seeds share the images, so that more seeds do not narrow the images' part: the mean of the half-widths. The seeds' part is that of
    the t interval over the seeds; with one seed there is none, and the interval holds for this classifier only. The squares are added.

    Parameters
    ----------
    values, half_widths
        (seeds, ...).
    """
    given, images = np.asarray(values, dtype=np.float64), np.asarray(half_widths, dtype=np.float64).mean(axis=0)
    count = len(given)
    if count == 1:
        return images
    quantile = stats.t.ppf((1 + level) / 2, count - 1)
    found: Floats = np.hypot(images, quantile * given.std(axis=0, ddof=1) / np.sqrt(count))
    return found


def resampled_interval(values: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats, Floats]:
    """Mean over seeds, and the ends of its interval for other images and seeds, of numbers that were computed from resampled images too.

    Parameters
    ----------
    values
        (seeds, 1 + R, ...): for each seed the number, then its replicates; NaN among these leaves the ends undefined.

    Returns
    -------
    tuple
        Mean, low and high: half-widths of the replicates' percentile intervals and of the seeds, see `added_half_widths`.
    """
    given = np.asarray(values, dtype=np.float64)
    low, high = np.quantile(given[:, 1:], [(1 - level) / 2, (1 + level) / 2], axis=1)
    mean, half = given[:, 0].mean(axis=0), added_half_widths(given[:, 0], (high - low) / 2, level)
    return mean, mean - half, mean + half


def image_weights(images: tuple[int, ...], resamples: int) -> Floats:
    """(1 + R, images), rows that sum to 1: equal weights, then those of the Bayesian bootstrap (Rubin 1981).

    An image has weights of its own, whatever other images there are: resamples of tables that lack some images are of the same ones.

    References
    ----------
    Rubin, The Bayesian bootstrap, Annals of Statistics 9, 1981. Owen and Eckles, Bootstrapping data arrays of arbitrary order, Annals of
    Applied Statistics 6, 2012.
    """
    weights = np.stack([_image_weight(image, resamples) for image in images], axis=1)
    found: Floats = weights / weights.sum(axis=1, keepdims=True)
    return found


@lru_cache(maxsize=2**14)
def _image_weight(image: int, resamples: int) -> Floats:
    return np.concatenate([[1.0], np.random.default_rng([0, image]).exponential(size=resamples)])


def ranks_of(means: ArrayLike) -> Floats:
    """Ranks along the last axis, 1 is the highest, of what was summed: what agrees in 10 digits ties, since the rest is rounding."""
    digits, exponents = np.frexp(np.asarray(means, dtype=np.float64))
    found: Floats = stats.rankdata(-np.ldexp(np.round(digits, 10), exponents), axis=-1)
    return found


def without_rounding(values: ArrayLike, metric_family: str) -> Floats:
    """Scores of a family of metrics: errors against axioms that are `ROUNDING` are 0."""
    given = np.asarray(values, dtype=np.float64)
    return np.where(np.abs(given) <= ROUNDING, 0.0, given) if metric_family == Family.AXIOMATIC.value else given


def wilson_interval(share: ArrayLike, count: int, level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval for proportions that were each found to be `share` among so many (Wilson 1927); halves are allowed.

    References
    ----------
    Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
    """
    share = np.asarray(share, dtype=np.float64)
    low, high = proportion_confint(share * count, count, alpha=1 - level, method="wilson")
    return np.clip(low, 0.0, share), np.clip(high, share, 1.0)  # they hold the share, but for rounding


def images_needed(differences: ArrayLike, level: float = 0.95, power: float = 0.8) -> Floats:
    """Images with which a paired z test at `level` notices so large a mean difference (..., images) with this power; at least 2.

    Infinite where the mean is 0 or below; NaN with fewer than two differences.
    """
    given = np.asarray(differences, dtype=np.float64)
    if given.shape[-1] < 2:
        return np.full(given.shape[:-1], np.nan)[()]
    mean, deviation = given.mean(axis=-1), given.std(axis=-1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.maximum(np.ceil(normal_sample_size_one_tail(mean, power, (1 - level) / 2, deviation)), 2)
    return np.where(mean <= 0, np.inf, found)[()]
