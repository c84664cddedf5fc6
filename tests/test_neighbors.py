"""Nearest neighbors against brute force, with ties, copies, labels and small memory; mutants fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xaibench import neighbors
from xaibench.neighbors import nearest


def brute_force(queries, data, k, labels=None, wanted=None):
    """Distance and row one by one; sorted by both."""
    queries, data = (values.double().flatten(1).numpy() for values in (queries, data))
    found = []
    for number, query in enumerate(queries):
        allowed = [row for row in range(len(data)) if labels is None or labels[row] == wanted[number]]
        order = sorted((np.float32(np.sqrt(((data[row] - query) ** 2).sum())), row) for row in allowed)[:k]
        found.append(order + [(np.inf, -1)] * (k - len(order)))
    return torch.tensor([[float(d) for d, _ in one] for one in found]), torch.tensor([[row for _, row in one] for one in found])


def levels(count, shape=(1, 3, 4), high=3, seed=0):
    """Images of few whole levels: most distances are those of several."""
    return torch.randint(high, (count, *shape), generator=torch.Generator().manual_seed(seed)).float()


def smooth(count, shape=(2, 8, 9), seed=0):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def check(queries, data, k, labels=None, wanted=None):
    distances, rows = nearest(queries, data, k, labels, wanted)
    expected = brute_force(queries, data, k, labels, wanted)
    assert torch.equal(rows, expected[1])
    assert torch.allclose(distances, expected[0].to(torch.float32), rtol=1e-6)
    assert (distances.dtype, rows.dtype) == (torch.float32, torch.int64)


def check_ties():
    check(levels(9, seed=1), levels(200), k=5)


def check_copies():
    """More equally near images than are measured again, among others."""
    data = torch.cat([smooth(40), smooth(1, seed=5).expand(60, -1, -1, -1), smooth(40, seed=2)])
    check(torch.cat([smooth(3, seed=5), smooth(3, seed=7)]), data, k=30)


def check_labels():
    draw = torch.Generator().manual_seed(3)
    labels, wanted = torch.randint(4, (150,), generator=draw), torch.randint(4, (11,), generator=draw)
    check(smooth(11, seed=1), smooth(150), 6, labels, wanted)


def check_small_differences():
    """Images far from 0 that differ in the last digits of their distances by products."""
    data = 1000 + torch.rand(300, 1, 4, 4, generator=torch.Generator().manual_seed(0)) / 8
    check(data[:5] + 1 / 16, data, k=20)


CHECKS = [check_ties, check_copies, check_labels, check_small_differences]


@pytest.mark.parametrize("checked", CHECKS)
def test_neighbors_are_those_of_brute_force(checked):
    checked()


@pytest.mark.parametrize("values", [1, 100, 5000])
@pytest.mark.parametrize("checked", CHECKS)
def test_they_do_not_depend_on_how_much_is_held_at_once(checked, values, monkeypatch):
    monkeypatch.setattr(neighbors, "VALUES", values)
    monkeypatch.setattr(neighbors, "QUERIES", 2)
    checked()


def test_no_more_is_held_at_once_than_said(monkeypatch):
    held = []
    product, norm = torch.addmm, torch.linalg.vector_norm
    monkeypatch.setattr(neighbors, "VALUES", 2000)
    monkeypatch.setattr(torch, "addmm", lambda first, *rest, **more: held.append(first.numel()) or product(first, *rest, **more))
    monkeypatch.setattr(torch.linalg, "vector_norm", lambda values, **more: held.append(values.numel()) or norm(values, **more))
    check_small_differences()
    check_ties()
    assert len(held) >= 9
    assert max(held) <= 2000


@pytest.mark.parametrize("split", [1, 4, 7])
def test_no_query_depends_on_the_others(split):
    data, queries = torch.cat([smooth(120), smooth(1, seed=9).expand(40, -1, -1, -1)]), smooth(8, seed=9)
    together = nearest(queries, data, 4)
    parts = [nearest(part, data, 4) for part in queries.split(split)]
    assert torch.equal(together[1], torch.cat([rows for _, rows in parts]))
    assert torch.equal(together[0], torch.cat([distances for distances, _ in parts]))


def test_fewer_than_k_are_told():
    labels = torch.tensor([0, 2, 0, 2, 2])
    distances, rows = nearest(smooth(3, seed=1), smooth(5), 4, labels, torch.tensor([0, 1, 2]))
    assert (rows >= 0).sum(1).tolist() == [2, 0, 3]
    assert torch.equal(rows < 0, distances.isinf())
    check(smooth(3, seed=1), smooth(5), 4, labels, torch.tensor([0, 1, 2]))


def test_there_may_be_no_query_and_no_data():
    assert nearest(smooth(0), smooth(5), 2)[1].shape == (0, 2)
    assert nearest(smooth(2), smooth(0), 2)[1].tolist() == [[-1, -1]] * 2


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 12), st.integers(2, 4), st.integers(0, 99))
def test_any_numbers_of_images(size, queries, k, high, seed):
    labels, wanted = levels(size, (1,), 2, seed)[:, 0], levels(queries, (1,), 2, seed + 1)[:, 0]
    check(levels(queries, (1, 2, 2), high, seed + 1), levels(size, (1, 2, 2), high, seed), k, labels, wanted)


def keep_the_unsure(patch):
    patch.setattr(neighbors, "_exhaustive", lambda queries, data, members, k: _measured_once(queries, data, members, k))


def _measured_once(queries, data, members, k):
    rows = neighbors._shortlist(queries, data, members, k)[0]
    return neighbors._distances(queries, data, rows).sort(dim=1)[0], rows


def highest_rows_first(patch):
    found = neighbors._distances
    patch.setattr(neighbors, "_distances", lambda queries, data, rows: found(queries, data, rows) - 1e-6 * rows)


def trust_the_products(patch):
    def among(queries, data, members, k):
        squares = queries.square().sum(1)[:, None] + data[members].square().sum(1) - 2 * queries @ data[members].T
        distances, place = squares.clamp(min=0).sqrt().topk(k, largest=False)
        return distances, members[place]

    patch.setattr(neighbors, "_among", among)


def ignore_labels(patch):
    patch.setattr(neighbors, "_groups", lambda queries, size, labels, wanted: iter([(torch.arange(queries), torch.arange(size))]))


MUTANTS = [
    (keep_the_unsure, check_copies),
    (highest_rows_first, check_ties),
    (trust_the_products, check_small_differences),
    (trust_the_products, check_ties),
    (ignore_labels, check_labels),
]


@pytest.mark.parametrize(("mutant", "checked"), MUTANTS)
def test_mutants_are_rejected(mutant, checked, monkeypatch):
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        checked()
