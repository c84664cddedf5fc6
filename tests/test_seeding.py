from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy import stats

from xaibench import seeding
from xaibench.seeding import Each, Rng, global_seed

RNG = Rng(seed=3, draw=1, component="Example")
INDEX = torch.tensor([7, 0, 9_999, 123, 7])

GOLDEN_KEY = -2018464844690809383
GOLDEN_BITS = [[-4201802444838254939, 7951118648280381754], [8303695870217030084, 7525876570013512622]]
GOLDEN_UNIFORM = torch.tensor([[0.4229816794395447, 0.5253121256828308], [0.6517316102981567, 0.1639474630355835]])
GOLDEN_NORMAL = torch.tensor([[0.31956154108047485, -0.42836523056030273], [-0.1659298986196518, 1.0969574451446533]])
GOLDEN_INTEGERS = [[632, 272, 259], [477, 877, 985]]
GOLDEN_PERMUTATION = [[0, 2, 4, 1, 3], [0, 1, 3, 2, 4]]
GOLDEN_SHARED = [838, 607, 699]


def draws(each: Each) -> list[torch.Tensor]:
    return [each.bits(3, 2), each.uniform(4), each.normal(2, 2), each.integers(10, 5), each.permutation(6), each.uniform()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_an_images_draws_do_not_depend_on_batch_order_or_neighbors():
    together = draws(RNG.each(INDEX))
    for rows in ([0], [1], [2, 0], [4, 3, 2, 1, 0]):
        assert same(draws(RNG.each(INDEX[rows])), [found[rows] for found in together])
    assert torch.equal(together[0][0], together[0][4])  # the same image twice
    assert not torch.equal(together[0][0], together[0][1])


def test_a_wider_draw_begins_as_a_narrower_one():
    assert torch.equal(RNG.each(INDEX).bits(10)[:, :4], RNG.each(INDEX).bits(4))


def test_samples_are_streams_of_their_own_and_a_number_or_one_for_each_row():
    rows, samples = torch.tensor([5, 5, 8, 8]), torch.tensor([0, 3, 0, 3])
    together = draws(RNG.each(rows, samples))
    for position, (row, sample) in enumerate(zip(rows, samples.tolist(), strict=True)):
        assert same(draws(RNG.each(row[None], sample)), [found[position : position + 1] for found in together])
    assert same(draws(RNG.each(rows, 0)), draws(RNG.each(rows)))
    assert len(set(together[0].flatten().tolist())) == together[0].numel()


@pytest.mark.parametrize("other", [Rng(4, 1, "Example"), Rng(3, 2, "Example"), Rng(3, 1, "Other"), Rng(31, 1, "Example")])
def test_seed_draw_and_component_each_give_other_draws(other):
    assert not (set(RNG.each(INDEX).bits(50).flatten().tolist()) & set(other.each(INDEX).bits(50).flatten().tolist()))
    assert not torch.equal(torch.rand(5, generator=RNG.shared()), torch.rand(5, generator=other.shared()))
    assert RNG.key != other.key


def test_seed_and_draw_do_not_run_into_each_other():
    assert Rng(1, 11, "A").key != Rng(11, 1, "A").key


def test_successive_calls_give_new_draws_and_a_fresh_stream_the_old_ones():
    each = RNG.each(INDEX)
    first, second = each.bits(20), each.bits(20)
    assert not (set(first.flatten().tolist()) & set(second.flatten().tolist()))
    assert torch.equal(RNG.each(INDEX).bits(20), first)


def test_the_shared_generator_is_freshly_seeded_at_every_call():
    assert torch.equal(torch.rand(5, generator=RNG.shared()), torch.rand(5, generator=RNG.shared()))


def test_draws_leave_the_global_generators_and_the_index_alone():
    state, index = torch.get_rng_state(), INDEX.clone()
    draws(RNG.each(INDEX))
    torch.rand(3, generator=RNG.shared())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(INDEX, index)


def test_bits_are_splitmix64_of_the_stream():
    """The published finalizer, in unbounded integers."""
    mask = 2**64 - 1

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15
    each = RNG.each(torch.tensor([12]), 5)
    each.bits(1)
    found = [value & mask for value in each.bits(3)[0].tolist()]
    image = mix((12 * golden + RNG.key + 0xBF58476D1CE4E5B9) & mask)
    stream = mix((image + 5 * 0x94D049BB133111EB) & mask)
    assert found == [mix((stream + (place + 1) * golden) & mask) for place in range(3)]


def test_golden_values():
    """These outputs are part of every key: if they change on purpose, raise `seeding.VERSION` and put the new ones here."""
    assert seeding.VERSION == 2
    each = RNG.each(torch.tensor([0, 1]))
    assert RNG.key == GOLDEN_KEY
    assert each.bits(2).tolist() == GOLDEN_BITS
    assert torch.equal(each.uniform(2), GOLDEN_UNIFORM)
    torch.testing.assert_close(each.normal(2), GOLDEN_NORMAL, rtol=1e-6, atol=1e-7)
    assert each.integers(1000, 3).tolist() == GOLDEN_INTEGERS
    assert each.permutation(5).tolist() == GOLDEN_PERMUTATION
    assert torch.randint(1000, (3,), generator=RNG.shared()).tolist() == GOLDEN_SHARED


@pytest.mark.parametrize("axis", ["images", "positions", "samples", "calls"])
def test_uniform_and_normal_draws_have_their_distributions_along_every_axis(axis):
    size = 20_000

    def sequence(name: str) -> np.ndarray:
        if axis == "images":
            return getattr(RNG.each(torch.arange(size)), name)().numpy()
        if axis == "positions":
            return getattr(RNG.each(torch.tensor([4])), name)(size)[0].numpy()
        if axis == "samples":
            return getattr(RNG.each(torch.full((size,), 4), torch.arange(size)), name)().numpy()
        each = RNG.each(torch.arange(20))
        return torch.cat([getattr(each, name)() for _ in range(size // 20)]).numpy()

    uniform, normal = sequence("uniform"), sequence("normal")
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    for values in (uniform, normal):
        assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 4 / size**0.5
    assert uniform.dtype == normal.dtype == np.float32
    assert stats.kstest(uniform * 0.97, "uniform").pvalue < 1e-3  # the test has the power to see 3 %


def test_uniform_lies_strictly_between_0_and_1_even_for_the_extreme_bits(monkeypatch):
    for bits in (-1, 0):
        monkeypatch.setattr(Each, "bits", lambda self, *shape, bits=bits: torch.full((1, *shape), bits))
        each = RNG.each(torch.tensor([0]))
        assert 0 < each.uniform().item() < 1
        assert each.normal(2).isfinite().all()
        assert each.normal(2).abs().max() < 5.9
        assert 0 <= each.integers(3).item() <= 2
        assert 0 <= each.integers(4).item() <= 3


@pytest.mark.parametrize("size", [1, 2, 7])
def test_normal_draws_are_box_and_mullers_of_the_bits(size):
    """Upper 24 bits for the radius, lower 24 for the angle; the cosines come first, then the sines."""
    half = (size + 1) // 2
    bits = RNG.each(INDEX).bits(half).numpy().astype(np.uint64)
    radius = np.sqrt(-2 * np.log(((bits >> np.uint64(40)) + 0.5) / 2**24))
    angle = 2 * np.pi * (bits & np.uint64(2**24 - 1)) / 2**24
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)[:, :size]
    np.testing.assert_allclose(RNG.each(INDEX).normal(size).numpy(), expected, rtol=1e-5, atol=1e-6)


def check_independent_normals(first: np.ndarray, second: np.ndarray) -> None:
    """Radius and angle of independent standard normals: chi-square with 2 degrees of freedom, uniform, and independent of each other."""
    squared, angle = first**2 + second**2, np.arctan2(second, first)
    assert stats.kstest(squared, "chi2", args=(2,)).pvalue > 1e-3
    assert stats.kstest(angle / (2 * np.pi) + 0.5, "uniform").pvalue > 1e-3
    cells, _, _ = np.histogram2d(stats.chi2(2).cdf(squared), angle, bins=(8, 8), range=[[0, 1], [-np.pi, np.pi]])
    assert stats.chisquare(cells.ravel()).pvalue > 1e-3


def test_normals_made_of_the_same_bits_are_independent():
    first, second = RNG.each(torch.arange(40_000)).normal(2).double().numpy().T
    check_independent_normals(first, second)
    other, radius = RNG.each(torch.arange(40_000), 1).normal().double().numpy(), np.hypot(first, second)
    same_bits = 2 * np.pi * stats.chi2(2).cdf(radius**2)
    for mutant in (first, np.abs(second), np.sign(first) * np.abs(other), 1.05 * other):
        with pytest.raises(AssertionError):
            check_independent_normals(first, mutant)
    with pytest.raises(AssertionError):
        check_independent_normals(radius * np.cos(same_bits), radius * np.sin(same_bits))


@pytest.mark.parametrize("high", [2, 7, 10])
def test_integers_are_uniform(high):
    found = RNG.each(torch.arange(400)).integers(high, 50)
    assert found.dtype == torch.int64
    counts = torch.bincount(found.flatten(), minlength=high)
    assert len(counts) == high
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_permutations_are_permutations_and_all_equally_likely():
    found = RNG.each(torch.arange(24_000)).permutation(4)
    assert torch.equal(found.sort(dim=1).values, torch.arange(4).expand(24_000, 4))
    codes, counts = (found * torch.tensor([64, 16, 4, 1])).sum(1).unique(return_counts=True)
    assert len(codes) == 24
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def states() -> tuple[object, object, object]:
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()


def test_global_seed_seeds_all_generators_and_puts_them_back():
    def three() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    before = states()
    with global_seed(5):
        first = three()
    assert states() == before
    with global_seed(5):
        assert three() == first
    with global_seed(6):
        other = three()
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_global_seed_puts_the_generators_back_after_an_error_and_when_nested():
    before = states()
    with pytest.raises(KeyError), global_seed(1):
        torch.rand(1)
        raise KeyError
    assert states() == before
    with global_seed(1):
        random.random()
        inside = states()
        with global_seed(2):
            torch.rand(1), random.random(), np.random.rand()
        assert states() == inside
    assert states() == before


def test_global_seed_takes_seeds_that_numpy_would_refuse():
    with global_seed(2**40 + 1):
        value = np.random.rand()
    assert 0 <= value < 1
