"""Earth mover's distance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.metrics.localization import PooledLocalization

LIBRARY = "scipy"

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class EarthMoversDistance(PooledLocalization):
    """How little absolute relevance must be moved, and how far, to be spread evenly over the true mask: 1 when nothing is to be moved.

    Absolute attributions and mask are each scaled to sum to 1; the earth mover's distance is the least sum of mass x Euclidean distance
    between pixel centers that turns one into the other. Relevance that only just misses the mask is worth more than relevance far away.
    Nothing is ranked, so there are no ties. Other fields: see `PooledLocalization`; the absolute value is taken after pooling.

    Images of at most `side` x `side` pixels are solved exactly, each by itself: the solver, a linear program of scipy, takes one at a time.
    Of larger ones the pixels of a cell of a `side` x `side` grid are taken together at the mean of their places, which changes the
    distance by at most the largest distance between two pixels of a cell.

    Parameters
    ----------
    side
        Most rows and most columns of cells. The time grows with about the fourth power of it.

    Returns
    -------
    Scores
        `value`: (B, T), 1 - distance / largest distance between two pixels of the image, in [0, 1]; higher is better. `distance`: in
        pixels; lower is better. NaN where the mask has no pixel, where the map is 0 everywhere, or where it holds a NaN or an infinite
        value.

    Raises
    ------
    ValueError
        If attributions, images and masks differ in batch, targets or spatial size.

    References
    ----------
    Clark, Wilming and Haufe, XAI-TRIS: non-linear image benchmarks to quantify false positive post-hoc attribution of feature importance,
    2023 (arXiv:2306.12816). Differs: approximate for images larger than the grid of cells.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Clark et al., 2023 (arXiv:2306.12816)"

    side: PositiveInt = 10

    def compare(self, maps: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        """See `LocalizationMetric`."""
        height, width = maps.shape[2:]
        cells, places = self._cells(height, width)
        masses = (shares.flatten(2) @ cells.to(shares) for shares in (_shares(maps.abs()), _shares(masks.to(maps.dtype))))
        given, wanted = (mass.flatten(0, 1).cpu().numpy() for mass in masses)
        apart = np.linalg.norm(places[:, None] - places, axis=2)
        moved = [transport(*pair, apart) for pair in zip(given, wanted, strict=True)]
        distance = torch.tensor(moved, dtype=maps.dtype, device=maps.device).view(maps.shape[:2])
        # an image of one pixel has nothing to be moved
        return {"value": 1 - distance / max(math.hypot(height - 1, width - 1), 1.0), "distance": distance}

    def _cells(self, height: int, width: int) -> tuple[Tensor, Array]:
        """(H W, cells): which cell a pixel belongs to; and (cells, 2): where the cells lie."""
        row, column = (torch.arange(size) * min(self.side, size) // size for size in (height, width))
        number = (row[:, None] * (column[-1] + 1) + column).flatten()
        cells = torch.nn.functional.one_hot(number).to(torch.float64)
        pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(torch.float64)
        return cells, (cells.T @ pixels / cells.sum(dim=0)[:, None]).numpy()


def _shares(values: Tensor) -> Tensor:
    return values / values.sum(dim=(2, 3), keepdim=True)


def transport(given: Array, wanted: Array, apart: Array) -> float:
    """The least sum of mass x distance that turns one distribution over n places (n,) into another; NaN if one holds a NaN.

    Parameters
    ----------
    given, wanted
        (n,), not negative, of equal sums.
    apart
        (n, n): distances between the places. They obey the triangle inequality, so what both have at a place may stay there.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csc_array

    if np.isnan(given).any() or np.isnan(wanted).any():
        return math.nan
    common = np.minimum(given, wanted)
    supply, demand = given - common, wanted - common
    sources, sinks = supply.nonzero()[0], demand.nonzero()[0]
    if not (len(sources) and len(sinks)):
        return 0.0
    supply, demand = supply[sources], demand[sinks]
    routes = np.arange(len(sources) * len(sinks))
    ends = np.stack([routes // len(sinks), len(sources) + routes % len(sinks)], axis=1).ravel()
    leaves = csc_array((np.ones(len(ends)), ends, np.arange(0, len(ends) + 1, 2)), shape=(len(sources) + len(sinks), len(routes)))
    # both sum to the same but for rounding, which would leave no solution
    amounts = np.concatenate([supply, demand * (supply.sum() / demand.sum())]) / supply.sum()
    costs, options = apart[np.ix_(sources, sinks)].ravel(), {"primal_feasibility_tolerance": 1e-10}
    found = linprog(costs, A_eq=leaves, b_eq=amounts, method="highs-ds", options=options)
    if found.x is None:
        raise RuntimeError(f"scipy's linear program: expected the least transport, got {found.message}")
    return float(found.fun * supply.sum())
