"""How far ethik's influence and ours are apart, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from xaibench.influence.histograms import Floats
from xaibench.influence.reweighting import Reweighted, reweighted


def table(ours: Reweighted, theirs: dict[str, np.ndarray], pixels: np.ndarray, probabilities: Floats) -> pd.DataFrame:
    """One row for each tau, over the pixels that vary.

    Parameters
    ----------
    ours
        At the taus of `theirs`.
    theirs
        See `reference.arrays`.
    pixels, probabilities
        (N, F) and (N, K), what both were given.
    """
    span = np.ptp(pixels, axis=0).astype(np.float64)
    varies = span > 0
    same = reweighted(pixels, probabilities, targets=theirs["reached"]).means
    rows: list[dict[str, Any]] = []
    for place, tau in enumerate(theirs["taus"]):
        residual = np.abs(theirs["reached"][varies, place] - theirs["target"][varies, place]) / span[varies]
        row = {"tau": float(tau), "pixels": int(varies.sum()), "moved": int(ours.moved[varies, place].sum())}
        row |= {"boundary": int(ours.boundary[varies, place].sum()), "ethik_says_converged": int(theirs["converged"][varies, place].sum())}
        row |= {"target_difference": float(np.abs(ours.targets - theirs["target"])[varies, place].max())}
        row |= {"ethik_residual": float(residual.max()), "our_residual": float(ours.residual[varies, place].max())}
        row |= {"difference": _largest(ours.means, theirs, varies, place), "at_its_mean": _largest(same, theirs, varies, place)}
        rows.append(row)
    return pd.DataFrame(rows)


def _largest(means: Floats, theirs: dict[str, np.ndarray], varies: np.ndarray, place: int) -> float:
    return float(np.abs(means - theirs["influence"])[varies, place].max())
