"""Distributions that give a feature another mean and differ from the data's as little as possible: exponential tilting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xaibench.influence.histograms import Floats

VERSION = 1

ITERATIONS = 200
"""At most; a bracketed Newton step at least halves what is left, and takes about 5 in practice."""

TOLERANCE = 1e-13
"""Of the mean, as a share of the feature's range."""


@dataclass(frozen=True)
class Tilted:
    """Weights of the images for each target of each feature; all images with the same value of it weigh the same.

    Attributes
    ----------
    weights
        (F, S, M): the weight of all images together that have the value; sums to 1, NaN where the target cannot be reached.
    multiplier
        (F, S), in 1 / the feature's unit: the weight of an image is proportional to exp(multiplier x value). Infinite on the boundary,
        where all weight is on the images with the smallest or largest value; NaN where the target cannot be reached.
    residual
        (F, S): |weighted mean - target| as a share of the feature's range.
    effective
        (F, S): effective sample size, 1 / sum of the squared weights of the images, at most their number.
    divergence
        (F, S), nats: Kullback-Leibler divergence of the weighted images from the images, the least that the target allows.
    """

    weights: Floats
    multiplier: Floats
    residual: Floats
    effective: Floats
    divergence: Floats


def tilted(values: Floats, counts: Floats, targets: Floats) -> Tilted:
    """The weights that make the targets the mean of each feature, at the least Kullback-Leibler divergence from equal weights.

    w_i is proportional to exp(xi x_i); xi makes the gradient of the convex dual log-mean-exp(xi x) - xi target vanish. All are solved
    together, by Newton's steps on the log-odds of the mean, where the feature's range is [0, 1]: with two values one step is exact. A step
    that leaves the interval known to hold the root halves it instead.

    Parameters
    ----------
    values, counts
        (F, M): see `Histograms`.
    targets
        (F, S), in the feature's unit. The smallest or largest value is the boundary, which no finite xi reaches: there the limit is given,
        equal weights on the images that have it. Beyond is nothing.

    References
    ----------
    Bachoc, Gamboa, Halford, Loubes and Risser, Explaining machine learning models using entropic variable projection, 2018
    (arXiv:1810.07924), theorem 1.
    """
    there = counts > 0
    low = np.where(there, values, np.inf).min(axis=1, keepdims=True)
    high = np.where(there, values, -np.inf).max(axis=1, keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    unit, goal = np.where(there, (values - low) / span, 0.0), (targets - low) / span
    top = ((high - low) / span)[:, :1]  # 1, but 0 for a constant feature
    with np.errstate(divide="ignore"):
        logs = np.log(counts)
    inside = (goal > 0) & (goal < top)
    multiplier = np.where(goal <= 0, -np.inf, np.inf)
    multiplier[inside] = _roots(unit, logs, goal, inside)
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = (unit * shares).sum(axis=1, keepdims=True)
    multiplier[np.isclose(goal, mean, rtol=0, atol=1e-15)] = 0.0  # also a constant feature at its value
    weights = _weights(unit, logs, multiplier)
    weights[(goal < 0) | (goal > top)] = np.nan
    residual = np.abs((weights * unit[:, None]).sum(axis=2) - goal)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = 1 / np.where(counts[:, None] > 0, weights**2 / counts[:, None], 0.0).sum(axis=2)
        ratio = np.where(weights > 0, np.log(weights / shares[:, None]), 0.0)
    divergence = (weights * ratio).sum(axis=2)
    multiplier = np.where(np.isnan(residual), np.nan, multiplier / span)
    return Tilted(weights, multiplier, residual, effective, divergence)


def _roots(unit: Floats, logs: Floats, goal: Floats, inside: np.ndarray) -> Floats:
    """(n,): the multipliers that make the goals inside the range the mean; values are in [0, 1]."""
    row, _ = np.nonzero(inside)
    aim, root = goal[inside], np.zeros(len(row))
    lower, upper = np.full(len(row), -np.inf), np.full(len(row), np.inf)
    open_rows = np.arange(len(row))
    for _ in range(ITERATIONS):
        at, values = root[open_rows], unit[row[open_rows]]
        weights = _softmax(logs[row[open_rows]] + at[:, None] * values)
        mean, rest = (weights * values).sum(axis=1), (weights * (1 - values)).sum(axis=1)
        spread = (weights * (values - mean[:, None]) ** 2).sum(axis=1)
        wanted = aim[open_rows]
        above = mean > wanted
        upper[open_rows] = np.where(above, at, upper[open_rows])
        lower[open_rows] = np.where(above, lower[open_rows], at)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = (np.log(wanted / (1 - wanted)) - np.log(mean / rest)) * mean * rest / spread
        root[open_rows] = _inside(at + step, lower[open_rows], upper[open_rows])
        left = (np.abs(mean - wanted) > TOLERANCE) & (root[open_rows] != at)
        root[open_rows[~left]] = at[~left]
        open_rows = open_rows[left]
        if not len(open_rows):
            break
    return root


def _inside(proposed: Floats, lower: Floats, upper: Floats) -> Floats:
    """The proposals that are strictly between the bounds; else the middle, or, where a bound is infinite, a leap from the other."""
    with np.errstate(invalid="ignore"):
        middle = np.where(
            np.isinf(upper), 2 * np.maximum(lower, 0.5), np.where(np.isinf(lower), 2 * np.minimum(upper, -0.5), (lower + upper) / 2)
        )
        return np.where((proposed > lower) & (proposed < upper), proposed, middle)


def _weights(unit: Floats, logs: Floats, multiplier: Floats) -> Floats:
    """(F, S, M): the weights of the values at each multiplier; at an infinite one, those of the smallest or largest value."""
    finite = np.where(np.isinf(multiplier), 0.0, multiplier)
    weights = _softmax(logs[:, None] + finite[..., None] * unit[:, None])
    there = np.isfinite(logs)
    for end, sign in ((0.0, -1), (unit.max(axis=1, keepdims=True), 1)):
        alone = (there & (unit == end)).astype(np.float64)
        weights = np.where((multiplier == sign * np.inf)[..., None], (alone / alone.sum(axis=1, keepdims=True))[:, None], weights)
    return weights


def _softmax(logits: Floats) -> Floats:
    found = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found /= found.sum(axis=-1, keepdims=True)
    return found
