"""Redundancy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.component import NonNegativeFloat, PositiveInt
from xaibench.metrics.changed_pixels import TOLERANCE, changed
from xaibench.metrics.counterfactual_metric import CounterfactualMetric, Found
from xaibench.problem import Counterfactuals, Explainer, Passes, Problem
from xaibench.scoring import Requires
from xaibench.searching import verdict
from xaibench.seeding import Rng

LOGITS = 2**22
"""How many logits are held at once."""


@dataclass(frozen=True)
class Redundancy(CounterfactualMetric):
    """Share of the changed pixels that can be put back, one at a time, without losing the target class.

    A pixel is put back in all its channels, while all others stay as they are in the counterfactual. It is redundant if the target's logit
    is still the largest. A sparser counterfactual existed wherever the share is not 0; where many pixels changed a little, no single one is
    needed, though together they are: the share is near 1.

    Parameters
    ----------
    pixels
        Changed pixels that are tried for each pair, drawn with equal chances where there are more, so that the share is estimated without
        bias; null tries all.
    tolerance
        A pixel has changed if any channel has by more than this, in units of [0, 1].

    Returns
    -------
    Scores
        `value`: (B, T), in [0, 1]; lower is better. `count`: that share of the number of changed pixels, which is the paper's number.
        NaN where no counterfactual was found, or no pixel has changed.

    Raises
    ------
    ValueError
        If counterfactuals and problem differ in images, targets or shape, or the problem has no probabilities.

    References
    ----------
    Pawelczyk et al., CARLA: a Python library to benchmark algorithmic recourse and counterfactual explanation algorithms, 2021
    (arXiv:2108.00783): redundancy, the number of changes that were not necessary, each undone alone. Differs: a share, so that
    counterfactuals with many and with few changes are comparable; pixels, not single inputs; a sample of them; the tolerance.
    """

    higher_is_better: ClassVar[bool | None] = False
    paper: ClassVar[str] = "Pawelczyk et al., 2021 (arXiv:2108.00783)"
    exact_passes: ClassVar[bool] = False
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL})

    pixels: PositiveInt | None = 100
    tolerance: NonNegativeFloat = TOLERANCE

    def passes(self, problem: Problem, explainer: Explainer[Counterfactuals]) -> Passes:
        """At most: one forward pass for each pixel that is tried, of each pair; only changed ones are, and only where one was found."""
        return Passes(problem.targets.numel() * self._most(problem))

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        """See `CounterfactualMetric`."""
        there = changed(found, self.tolerance).flatten(1)
        sizes = there.sum(dim=1)
        tried = sizes.clamp(max=self._most(problem))
        pair = torch.arange(len(tried), device=tried.device).repeat_interleave(tried)
        pixel = self._drawn(found, there, rng)[_firsts(tried, self._most(problem))]
        kept = _kept(problem, found, pair, pixel)
        share = torch.zeros_like(tried).index_add_(0, pair, kept) / tried  # 0 / 0 is NaN
        return {"value": share, "count": share * torch.where(tried > 0, sizes, torch.nan)}

    def _drawn(self, found: Found, there: Tensor, rng: Rng) -> Tensor:
        """(n, most): the numbers of changed pixels, in the order in which they are tried; then those of others."""
        size = there.shape[1]
        if self.pixels is None or self.pixels >= size:
            return (~there).to(torch.uint8).argsort(dim=1, stable=True)
        place = rng.each(found.index, found.targets).permutation(size)
        return (place + size * ~there).topk(self.pixels, dim=1, largest=False, sorted=True).indices

    def _most(self, problem: Problem) -> int:
        size = problem.images.shape[2] * problem.images.shape[3]
        return size if self.pixels is None else min(self.pixels, size)


def _firsts(counts: Tensor, width: int) -> Tensor:
    """(n, width), bool: the first so many of each row."""
    return torch.arange(width, device=counts.device) < counts[:, None]


def _kept(problem: Problem, found: Found, pair: Tensor, pixel: Tensor) -> Tensor:
    """(m,), int64: whether the pair's counterfactual keeps its class when this pixel is put back, 1 or 0."""
    before, after = found.originals.flatten(2), found.counterfactuals.flatten(2)
    kept = torch.zeros_like(pair)
    classes = 1 if problem.probabilities is None else problem.probabilities.shape[1]
    size = max(1, LOGITS // classes // problem.chunk) * problem.chunk
    for part in torch.arange(len(pair), device=pair.device).split(size) if len(pair) else ():

        def restored(rows: Tensor, part: Tensor = part) -> Tensor:
            which, place = pair[part[rows]], pixel[part[rows]]
            images, row = after[which], torch.arange(len(rows), device=rows.device)
            images[row, :, place] = before[which, :, place]
            return images.view(-1, *problem.images.shape[1:])

        logits = perturb.logits(problem, len(part), restored)
        kept[part] = verdict(logits, found.targets[pair[part]], 0.0).to(kept.dtype)
    return kept
