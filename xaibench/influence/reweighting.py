"""The mean of anything that is read of images, when a feature of them has another mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from xaibench.influence.histograms import Floats, Histograms, coded
from xaibench.influence.targets import QuantileTargets, Targets
from xaibench.influence.tilting import tilted

VERSION = 2

QUANTILES = QuantileTargets()


@dataclass(frozen=True)
class Reweighted:
    """Means under the weights that move one feature to one target; S targets of F features, R reads.

    Attributes
    ----------
    means
        (F, S, R): the weighted means of what was read; NaN where the target cannot be reached.
    targets
        (F, S), in the feature's unit.
    multiplier, residual, effective, divergence
        (F, S): see `tilting.Tilted`.
    moved
        (F, S), bool: whether the target is not the feature's mean. Where it is, though tau is not 0, nothing was saturated.
    boundary
        (F, S), bool: whether the target is the smallest or largest value, where the weights are a limit.
    contrast
        (F, R): the mean at the last target less that at the first, "saturating it raises this by so much".
    means_low, means_high, contrast_low, contrast_high
        (F, S, R) and (F, R), ends of the bootstrap intervals, or None.
    contrasts
        (B, F, R), float32: the contrast in each of the bootstrap's replicates, or None.
    unreachable
        (F, S): the share of the bootstrap's replicates in which the target lies outside the feature's values, which are left out; or None.
    """

    means: Floats
    targets: Floats
    multiplier: Floats
    residual: Floats
    effective: Floats
    divergence: Floats
    moved: NDArray[np.bool_]
    boundary: NDArray[np.bool_]
    contrast: Floats
    means_low: Floats | None = None
    means_high: Floats | None = None
    contrast_low: Floats | None = None
    contrast_high: Floats | None = None
    contrasts: NDArray[np.float32] | None = None
    unreachable: Floats | None = None


def reweighted(
    features: NDArray,
    reads: Floats,
    taus: tuple[float, ...] = (-1.0, 1.0),
    targets: Targets | Floats = QUANTILES,
    per: Floats | None = None,
    resamples: int = 0,
    level: float = 0.95,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Reweighted:
    """Means of reads, feature by feature, as the feature's mean moves and all else stays as close as it can.

    Parameters
    ----------
    features
        (N, F), any number type: pixels, means of superpixels, or other columns. Pixels of 8 bits, or these divided by 255, are the fastest.
    reads
        (N, R): what is averaged, such as the probability of each class.
    taus, targets
        Where the means go: 0 leaves a feature as it is. Or targets (F, S) that are given, in the features' units; then `taus` say nothing.
    per
        (N, R): what each mean is divided by the mean of, such as whether the image is of a class, for a mean over the class.
    resamples
        Replicates of the bootstrap over images: the targets stay what they are, the multiplier is fitted to each replicate. 0: no interval.
    level
        Of the percentile interval.
    seed
        Of the bootstrap.
    progress
        Called with the share that is done.

    Raises
    ------
    ValueError
        If the two differ in length, hold NaN or infinite numbers, or there are none.
    """
    _check(features, reads, per)
    both = reads if per is None else np.column_stack([reads, per])
    (images, read), moves = both.shape, targets.shape[1] if isinstance(targets, np.ndarray) else len(taus)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(images, np.full(images, 1 / images), size=resamples).T.astype(np.float64)
    parts: list[Reweighted] = []
    for block in coded(features, 8 * (read + moves), resamples * moves * read):
        (whole,) = block.histograms(both, np.ones((images, 1)))
        wanted = targets[block.features] if isinstance(targets, np.ndarray) else targets(whole, taus)
        found = _at(whole, wanted, per is not None)
        if resamples:
            before, of = block.features.start / features.shape[1], len(whole.values) / features.shape[1]
            replicates = _told(block.histograms(both, drawn), progress, before, of / resamples)
            found = _with_interval(found, replicates, per is not None, resamples, (1 - level) / 2)
        parts.append(found)
        progress(block.features.stop / features.shape[1])
    names = [field.name for field in fields(Reweighted) if getattr(parts[0], field.name) is not None]
    along = {"contrasts": 1}
    return Reweighted(**{name: np.concatenate([getattr(part, name) for part in parts], axis=along.get(name, 0)) for name in names})


def _at(histograms: Histograms, targets: Floats, divided: bool) -> Reweighted:
    values, counts = histograms.values, histograms.counts
    found = tilted(values, counts, targets)
    mean = (values * counts).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
    means = _means(histograms, found.weights, divided)
    return Reweighted(
        means=means,
        targets=targets,
        multiplier=found.multiplier,
        residual=found.residual,
        effective=found.effective,
        divergence=found.divergence,
        moved=targets != mean,
        boundary=np.isinf(found.multiplier),
        contrast=means[:, -1] - means[:, 0],
    )


def _told(replicates: Iterable[Histograms], progress: Callable[[float], None], before: float, each: float) -> Iterator[Histograms]:
    """The replicates, while it is told what share is done: so much before, and so much with each."""
    for done, histograms in enumerate(replicates):
        progress(before + done * each)
        yield histograms


def _means(histograms: Histograms, weights: Floats, divided: bool) -> Floats:
    """(F, S, R): of the reads, under weights (F, S, M) of the values; or, divided, of their first half over those of the second."""
    counts = histograms.counts[:, None]
    each = np.divide(weights, counts, where=counts > 0, out=np.zeros_like(weights))  # of one image
    found: Floats = each @ histograms.sums
    if not divided:
        return found
    above, below = np.split(found, 2, axis=2)
    return np.divide(above, below, where=below > 0, out=np.full_like(above, np.nan))


def _with_interval(found: Reweighted, replicates: Iterable[Histograms], divided: bool, count: int, tail: float) -> Reweighted:
    """With the percentile interval of the means over so many replicates."""
    means = np.empty((count, *found.means.shape))
    reached = np.zeros(found.targets.shape)
    for place, histograms in enumerate(replicates):
        weights = tilted(histograms.values, histograms.counts, found.targets).weights
        means[place] = _means(histograms, weights, divided)
        reached += np.isfinite(weights[..., 0])
    contrasts = means[:, :, -1] - means[:, :, 0]
    contrast_low, contrast_high = _quantiles(contrasts, tail)
    low, high = _quantiles(means, tail)
    return replace(
        found,
        means_low=low,
        means_high=high,
        contrast_low=contrast_low,
        contrast_high=contrast_high,
        contrasts=contrasts.astype(np.float32),
        unreachable=1 - reached / count,
    )


def _quantiles(values: Floats, tail: float) -> tuple[Floats, Floats]:
    """Those of the replicates (B, ...) that are defined, at both tails, linear; NaN where none is. np.nanquantile takes minutes."""
    values = np.sort(values, axis=0)  # NaN come last
    last = np.isfinite(values).sum(axis=0, keepdims=True) - 1

    def at(share: float) -> Floats:
        place = np.maximum(last, 0) * share
        below = np.floor(place).astype(np.int64)
        first, second = (np.take_along_axis(values, rank, axis=0) for rank in (below, np.minimum(below + 1, np.maximum(last, 0))))
        found: Floats = (first + (place - below) * (second - first))[0]
        return found

    return at(tail), at(1 - tail)


def _check(features: NDArray, reads: Floats, per: Floats | None) -> None:
    """Raise ValueError, naming what is wrong, unless all are finite and of the same images."""
    if features.ndim != 2 or reads.ndim != 2 or len(features) != len(reads) or not reads.size or not features.size:
        raise ValueError(
            f"features of shape {features.shape} and reads of shape {reads.shape}: expected (N, F) and (N, R), N and R at least 1"
        )
    if per is not None and per.shape != reads.shape:
        raise ValueError(f"per of shape {per.shape}: expected {reads.shape}, as reads")
    for name, values in (("features", features), ("reads", reads), ("per", reads if per is None else per)):
        if not np.isfinite(values).all():
            raise ValueError(
                f"{name}: expected finite numbers, got NaN or infinite ones in {(~np.isfinite(values)).any(axis=1).sum()} rows"
            )
