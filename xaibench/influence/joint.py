"""Weights that move the means of several features at once, at the least Kullback-Leibler divergence from equal weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xaibench.influence.histograms import Floats

ITERATIONS, HALVINGS = 200, 40
TOLERANCE = 1e-12
"""Of each mean, as a share of the feature's range."""
LARGEST = 1e4
"""Of a multiplier, where features have the range 1: beyond, the target lies on the border of what the images allow, or outside."""


@dataclass(frozen=True)
class Joint:
    """Weights of the images for joint targets.

    Attributes
    ----------
    weights
        (N,), sum to 1; NaN where the targets cannot be reached.
    multipliers
        (F,), in 1 / the features' units; NaN where the targets cannot be reached.
    residual
        The largest |weighted mean - target| as a share of the feature's range; NaN where the targets cannot be reached.
    """

    weights: Floats
    multipliers: Floats
    residual: float


def jointly(features: Floats, targets: Floats) -> Joint:
    """The weights under which all these features have their targets as means.

    Minimizes the convex dual log-mean-exp(xi . x) - xi . target by Newton's method, each step halved until the dual falls. Targets must
    lie inside the convex hull of the images' features; on its border the weights are a limit that no finite xi reaches.

    Parameters
    ----------
    features
        (N, F): a few of them.
    targets
        (F,), in the features' units.

    References
    ----------
    Bachoc, Gamboa, Halford, Loubes and Risser, 2018 (arXiv:1810.07924), theorem 1, with several constraints.
    """
    low, high = features.min(axis=0), features.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    centered = (features - targets) / span
    multipliers = np.zeros(len(targets))
    value, weights = _dual(centered, multipliers)
    for _ in range(ITERATIONS):
        slope = weights @ centered
        if np.abs(slope).max() <= TOLERANCE or np.abs(multipliers).max() > LARGEST:
            break
        curvature = (centered * weights[:, None]).T @ centered - np.outer(slope, slope)
        step = np.linalg.lstsq(curvature, -slope, rcond=1e-14)[0]  # features may depend on each other
        for _ in range(HALVINGS):
            tried, found = _dual(centered, multipliers + step)
            if tried <= value + 1e-4 * slope @ step:
                break
            step = step / 2
        else:
            break  # no step lowers the dual any more: rounding
        multipliers, value, weights = multipliers + step, tried, found
    residual = float(np.abs(weights @ centered).max())
    if residual > np.sqrt(TOLERANCE):
        return Joint(np.full_like(weights, np.nan), np.full_like(multipliers, np.nan), np.nan)
    return Joint(weights, multipliers / span, residual)


def _dual(centered: Floats, multipliers: Floats) -> tuple[float, Floats]:
    """log-mean-exp(xi . (x - target)), and the weights."""
    logits = centered @ multipliers
    top = logits.max()
    weights = np.exp(logits - top)
    total = weights.sum()
    return float(top + np.log(total / len(weights))), weights / total
