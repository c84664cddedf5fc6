"""Frechet distances between normal distributions, with every group of samples left out once, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

VERSION = 1

VALUES = 2**22
"""How many numbers of the matrices are held at once."""


@dataclass(frozen=True)
class Reference:
    """A normal distribution that others are compared with, float64.

    Attributes
    ----------
    mean
        (D,).
    root
        (D, R): the covariance is root @ root.T, R its rank.
    variance
        (): the trace of the covariance.
    """

    mean: Tensor
    root: Tensor
    variance: Tensor


def reference(samples: Tensor) -> Reference:
    """The normal distribution with the mean and the (unbiased) covariance of at least two samples (N, D)."""
    samples = samples.to(torch.float64)
    mean = samples.mean(dim=0)
    centered = samples - mean
    covariance = centered.T @ centered / (len(samples) - 1)
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > _noise(values)
    kept[-1] = True  # an empty matrix has no largest eigenvalue
    return Reference(mean, vectors[:, kept] * values[kept].clamp(min=0).sqrt(), covariance.trace())


def without(samples: Tensor, group: Tensor, groups: int, other: Reference) -> Tensor:
    """(groups,), float64: the squared Frechet distance of the samples without those of each group; NaN where fewer than two are left.

    |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)). The trace of the root is the sum of the roots of the eigenvalues of the samples' covariance
    in coordinates in which the other is the identity, stretched by its root: it is symmetric, and as small as the other's rank.

    Parameters
    ----------
    samples
        (N, D).
    group
        (N,), int64, ascending: the group of each; a group may be empty.
    groups
        How many there are.
    other
        What the samples are compared with.
    """
    samples = samples.to(torch.float64) - other.mean
    stretched, squares = samples @ other.root, samples.square().sum(dim=1)
    sizes = torch.bincount(group, minlength=groups)
    defined = len(samples) - sizes > 1
    left = (len(samples) - sizes).clamp(min=2).to(torch.float64)
    mean = (samples.sum(dim=0) - _summed(samples, group, groups)) / left[:, None]
    apart = mean.square().sum(dim=1)
    variance = (squares.sum() - _summed(squares, group, groups) - left * apart) / (left - 1)
    found = apart + variance + other.variance - 2 * _roots(stretched, group, sizes, left, mean @ other.root)
    return torch.where(defined, found, torch.nan)


def _roots(samples: Tensor, group: Tensor, sizes: Tensor, left: Tensor, mean: Tensor) -> Tensor:
    """(groups,): trace of the root of the samples' covariance without each group, from their sizes, how many are left and their mean."""
    width, found = samples.shape[1], torch.empty_like(left)
    whole, starts = samples.T @ samples, sizes.cumsum(0) - sizes
    place = torch.arange(len(samples), device=samples.device) - starts[group]
    for part in torch.arange(len(sizes), device=samples.device).split(max(1, VALUES // width**2)):
        first, last = int(starts[part[0]]), int(starts[part[-1]] + sizes[part[-1]])
        members = samples.new_zeros(len(part), int(sizes[part].max()), width)
        members[group[first:last] - part[0], place[first:last]] = samples[first:last]
        scatter = whole - members.mT @ members - left[part, None, None] * mean[part, :, None] * mean[part, None, :]
        values = torch.linalg.eigvalsh(scatter / (left[part, None, None] - 1))
        found[part] = torch.where(values > _noise(values), values, 0).sqrt().sum(dim=1)
    return found


def _noise(values: Tensor) -> Tensor:
    """(..., 1): below it, eigenvalues (..., R), ascending, are 0 but for rounding, which their roots would enlarge."""
    return values[..., -1:].clamp(min=0) * values.shape[-1] * torch.finfo(values.dtype).eps


def _summed(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """(groups, ...): sums of each group's rows."""
    return values.new_zeros(groups, *values.shape[1:]).index_add_(0, group, values)
