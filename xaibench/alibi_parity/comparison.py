"""Pair by pair: which of two libraries finds a counterfactual, and which is closer to the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

Array = np.ndarray

SLACK = 1e-4
"""A distance counts as not greater within this relative difference: float32 sums in another order."""

DISTANCES = ("L1", "L2", "L1+L2")


def distances(images: Array, changed: Array) -> dict[str, Array]:
    """(N, T): how far the changed images (N, T, H, W), clipped to [0, 1], are from the images (N, H, W); L2 is the norm."""
    change = (np.clip(changed, 0, 1) - images[:, None]).astype(np.float64).reshape(*changed.shape[:2], -1)
    found = {"L1": np.abs(change).sum(2), "L2": np.sqrt(np.square(change).sum(2))}
    return found | {"L1+L2": found["L1"] + found["L2"]}


def row(images: Array, ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> dict[str, Any]:
    """One method's comparison.

    Parameters
    ----------
    images
        (N, H, W): the original images.
    ours, theirs
        `images` (N, T, H, W), NaN where there is none; `found` (N, T) by one rule for both; `near` (N, T, H, W), what the distance is
        measured of.

    Returns
    -------
    dict
        Pairs; found of each, and by both; over the latter, for each distance, the medians, the median ratio of ours to theirs, the share
        of pairs where ours is not greater, and Wilcoxon's two-sided p.
    """
    both = ours["found"] & theirs["found"]
    result: dict[str, Any] = {"pairs": both.size, "found_ours": int(ours["found"].sum()), "found_alibi": int(theirs["found"].sum())}
    result["found_both"] = int(both.sum())
    mine, other = (distances(images, side["near"]) for side in (ours, theirs))
    for name in DISTANCES:
        a, b = mine[name][both], other[name][both]
        result |= {f"{name}_ours": _median(a), f"{name}_alibi": _median(b), f"{name}_ratio": _median(a / np.maximum(b, 1e-12))}
        result |= {f"{name}_not_greater": float((a <= b * (1 + SLACK)).mean()) if len(a) else np.nan}
        result |= {f"{name}_p": float(wilcoxon(a, b).pvalue) if len(a) and (a != b).any() else np.nan}
    return result


def _median(values: Array) -> float:
    return float(np.median(values)) if len(values) else float("nan")
