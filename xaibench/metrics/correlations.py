"""Correlations along the last dimension, each row for itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def pearson(one: Tensor, other: Tensor) -> Tensor:
    """(...), in [-1, 1]: Pearson's correlation of (..., N) and (..., N); NaN where either is constant or holds a NaN."""
    one, other = (values - values.mean(dim=-1, keepdim=True) for values in (_varying(one), _varying(other)))
    return ((one / one.norm(dim=-1, keepdim=True)) * (other / other.norm(dim=-1, keepdim=True))).sum(dim=-1).clamp(-1, 1)


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """(...), in [-1, 1]: Spearman's rank correlation of (..., N) and (..., N); NaN where either is constant or holds a NaN."""
    return pearson(mean_ranks(one), mean_ranks(other))


def mean_ranks(values: Tensor) -> Tensor:
    """(..., N), float64: ranks from 0, ascending; equal values share the mean of their ranks; NaN throughout a row that holds a NaN."""
    ascending, order = values.sort(dim=-1)
    count = values.shape[-1]
    place = torch.arange(count, dtype=torch.float64, device=values.device).expand_as(ascending)
    starts = functional.pad(ascending[..., 1:] != ascending[..., :-1], (1, 1), value=True)
    first = place.masked_fill(~starts[..., :-1], 0).cummax(dim=-1).values
    last = place.masked_fill(~starts[..., 1:], count).flip(-1).cummin(dim=-1).values.flip(-1)
    ranks = torch.empty_like(place, memory_format=torch.contiguous_format).scatter_(-1, order, (first + last) / 2)
    return torch.where(values.isnan().any(dim=-1, keepdim=True), torch.nan, ranks)


def _varying(values: Tensor) -> Tensor:
    """The values in float64; NaN where a row is constant, whose deviations from its mean are rounding errors."""
    constant = values.amax(dim=-1, keepdim=True) == values.amin(dim=-1, keepdim=True)
    return values.to(torch.float64).masked_fill(constant, torch.nan)
