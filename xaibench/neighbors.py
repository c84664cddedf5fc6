"""Exact nearest neighbors among many images, such as all training images, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

VERSION = 1

VALUES = 2**22
"""How many numbers of each kind are held at once."""

QUERIES = 1024
"""How many queries are compared with the data at once."""

SPARE = 16
"""How many neighbors more than asked for are measured again, since matrix products round their distances."""


def nearest(queries: Tensor, data: Tensor, k: int, labels: Tensor | None = None, wanted: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Euclidean distances to the k nearest of many images, and their rows.

    Equal distances (float32) stand in ascending order of rows, and no query's neighbors depend on the other queries.

    Parameters
    ----------
    queries
        (n, ...): finite, on the device where the work is done.
    data
        (N, ...): of the same size, on any device; moved part by part.
    k
        Neighbors of each query.
    labels, wanted
        (N,) and (n,): only data with the label that the query wants is compared with it; None compares all.

    Returns
    -------
    tuple
        (n, k) distances, float32, ascending, and (n, k) rows of the data, int64. Where there are fewer than k: inf and -1.
    """
    queries, data = queries.detach().to(torch.float32).flatten(1), data.detach().flatten(1)
    distances = queries.new_full((len(queries), k), torch.inf)
    rows = torch.full_like(distances, -1, dtype=torch.int64)
    for own, members in _groups(len(queries), len(data), labels, wanted):
        count = min(k, len(members))
        for part in own.to(queries.device).split(QUERIES) if count else ():
            distances[part, :count], rows[part, :count] = _among(queries[part], data, members.to(data.device), count)
    return distances, rows


def _groups(queries: int, size: int, labels: Tensor | None, wanted: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Queries that are compared with the same data, and the rows of that data in ascending order."""
    if labels is None or wanted is None:
        yield torch.arange(queries), torch.arange(size)
        return
    labels, wanted = labels.cpu(), wanted.cpu()
    for label in wanted.unique():
        yield (wanted == label).nonzero()[:, 0], (labels == label).nonzero()[:, 0]


def _among(queries: Tensor, data: Tensor, members: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances and rows of the k nearest of these members, of which there are at least k."""
    rows, bound = _shortlist(queries, data, members, min(k + SPARE, len(members)))
    distances = _distances(queries, data, rows)
    distances, order = distances.sort(dim=1, stable=True)
    distances, rows = distances[:, :k], rows.gather(1, order)[:, :k]
    unsure = (distances[:, -1].double().square() >= bound).nonzero()[:, 0]  # others may be as near: many copies of one image
    if len(unsure):
        distances[unsure], rows[unsure] = _exhaustive(queries[unsure], data, members, k)
    return distances, rows


def _shortlist(queries: Tensor, data: Tensor, members: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(n, count) rows, ascending, of those that are nearest by matrix products, and (n,) what all others' squared distances exceed."""
    center = queries.mean(dim=0)  # differences of large numbers would lose digits
    moved = queries - center
    own = moved.square().sum(dim=1, keepdim=True)
    near, rows = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    longest = queries.new_zeros(())
    for chunk in members.split(max(1, VALUES // max(len(queries), queries.shape[1]))):
        part = data[chunk].to(queries.device, torch.float32).sub_(center)
        lengths = part.square().sum(dim=1)
        squares, place = torch.addmm(own + lengths, moved, part.T, alpha=-2).topk(min(count, len(chunk)), dim=1, largest=False)
        near, rows = torch.cat([near, squares], dim=1), torch.cat([rows, chunk.to(queries.device)[place]], dim=1)
        near, kept = near.topk(min(count, near.shape[1]), dim=1, largest=False)
        rows, longest = rows.gather(1, kept), torch.maximum(longest, lengths.max())
    if count == len(members):
        return rows.sort(dim=1).values, torch.full_like(own[:, 0], torch.inf, dtype=torch.float64)
    # A dot product of D float32 numbers errs by about sqrt(D) units in the last place (Higham and Mary 2019).
    error = 4 * queries.shape[1] ** 0.5 * torch.finfo(torch.float32).eps * (own[:, 0].sqrt() + longest.sqrt()).double().square()
    return rows.sort(dim=1).values, near[:, -1].double() - error


def _distances(queries: Tensor, data: Tensor, rows: Tensor) -> Tensor:
    """(n, m), float32: the distances to (n, m) rows of the data, not by products."""
    found = queries.new_empty(rows.shape)
    size = max(1, VALUES // max(1, rows.shape[1] * queries.shape[1]))
    for part, query, out in zip(rows.split(size), queries.split(size), found.split(size), strict=True):
        others = data[part.to(data.device)].to(queries.device, torch.float32)
        out.copy_(torch.linalg.vector_norm(others.sub_(query[:, None]), dim=2, dtype=torch.float64))
    return found


def _exhaustive(queries: Tensor, data: Tensor, members: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `_among`, by measuring the distance to every member."""
    distances, rows = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for chunk in members.split(max(1, VALUES // queries.shape[1])):
        more = chunk.to(queries.device).expand(len(queries), -1)
        distances, order = torch.cat([distances, _distances(queries, data, more)], dim=1).sort(dim=1, stable=True)
        rows = torch.cat([rows, more], dim=1).gather(1, order)  # stable: the rows before are the lower ones
        distances, rows = distances[:, :k], rows[:, :k]
    return distances, rows
