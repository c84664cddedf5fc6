import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from perturb_cases import RNG, distinct_maps, few, golden_problem, integer_maps, make_problem, outputs, sent

from xaibench import curves, perturb
from xaibench.curves import ranking
from xaibench.maps import pool
from xaibench.problem import Attributions
from xaibench.removal import Constant
from xaibench.seeding import Rng
from xaibench.superpixels import Squares, Superpixels


def sorted_ranks(problem, attributions, pooling):
    """The definition, with loops: sort by (pooled value downwards, place in the image's permutation)."""
    pools = {"sum": sum, "abs_sum": lambda values: sum(map(abs, values)), "max": max}
    batch, targets, channels, height, width = attributions.values.shape
    permutations = RNG.each(problem.index).permutation(height * width).tolist()
    ranks = torch.empty(batch, targets, height, width, dtype=torch.int32)
    for b in range(batch):
        for t in range(targets):
            flat = attributions.values[b, t].reshape(channels, -1).T.tolist()
            order = sorted(range(height * width), key=lambda p: (-pools[pooling](flat[p]), permutations[b].index(p)))
            for rank, pixel in enumerate(order):
                ranks[b, t, pixel // width, pixel % width] = rank
    return ranks


@pytest.mark.parametrize("pooling", ["sum", "abs_sum", "max"])
def test_ranking_is_the_sorted_order_with_ties_in_the_order_of_the_images_permutation(pooling):
    problem = make_problem(channels=3, height=4, width=5)
    attributions = integer_maps(problem, 2, channels=3)
    expected = sorted_ranks(problem, attributions, pooling)
    assert torch.equal(ranking(problem, attributions, RNG, pooling).rank, expected)
    for other in {"sum", "abs_sum", "max"} - {pooling}:
        assert not torch.equal(ranking(problem, attributions, RNG, other).rank, expected)
    row_major = attributions.values.sum(dim=2).flatten(2).argsort(dim=2, descending=True, stable=True).argsort(dim=2)
    assert not torch.equal(row_major.reshape(expected.shape).int(), expected)


def test_one_channel_is_ranked_as_several_are_to_the_last_bit():
    """One channel's float32 are sorted as integers; numbers of both signs and all sizes, that float32 barely tells apart among them."""
    numbers = [0.0, -0.0, 1e-45, -1e-45, 1e-38, 1.0, 1.0000001, -1.0, -1.0000001, 3e38, -3e38, math.inf, -math.inf, 0.5, 0.5, -0.5]
    problem = make_problem(channels=1, height=4, width=4)
    drawn = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(seed)) for seed in range(problem.targets.numel())])
    one = Attributions(torch.tensor(numbers)[drawn].reshape(*problem.targets.shape, 1, 4, 4))
    found, expected = ranking(problem, one, RNG), sorted_ranks(problem, one, "sum")
    assert torch.equal(found.rank, expected)
    assert torch.allclose(found.tied, torch.tensor(4 / 16))
    wide = ranking(problem, Attributions(one.values.to(torch.float64)), RNG)
    assert torch.equal(found.rank, wide.rank)
    assert torch.equal(found.tied, wide.tied)


def test_tied_is_the_share_of_pixels_whose_value_occurs_again():
    problem = make_problem(height=2, width=3, targets=1, batch=4)
    maps = [[1, 1, 2, 3, 4, 5], [1, 1, 2, 2, 3, 4], [0.0, -0.0, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6]]
    attributions = Attributions(torch.tensor(maps).reshape(4, 1, 1, 2, 3))
    tied = ranking(problem, attributions, RNG).tied
    assert torch.allclose(tied[:, 0], torch.tensor([2 / 6, 4 / 6, 2 / 6, 0.0]))


def test_tied_equals_a_count_by_pairs():
    problem = make_problem()
    attributions = integer_maps(problem, 4)
    flat = attributions.values.flatten(2)
    pairs = (flat[..., :, None] == flat[..., None, :]).sum(dim=-1)
    expected = (pairs > 1).float().mean(dim=-1)
    assert torch.allclose(ranking(problem, attributions, RNG).tied, expected)
    repeats = (pairs > 1).float().mean(dim=-1) - 1 / 16  # a mutant that does not count the first of equal values
    assert not torch.allclose(repeats, expected)


def test_negative_zero_ties_with_zero():
    problem = make_problem(height=2, width=2, targets=1)
    zeros = Attributions(torch.zeros(3, 1, 1, 2, 2))
    signed = Attributions(torch.tensor([0.0, -0.0, -0.0, 0.0]).reshape(1, 1, 1, 2, 2).repeat(3, 1, 1, 1, 1))
    assert torch.equal(ranking(problem, zeros, RNG).rank, ranking(problem, signed, RNG).rank)
    for pooling in ("sum", "max"):  # some sorts put -0 below 0
        assert signed.values.signbit().any()
        assert not pool(problem, signed, pooling).signbit().any()


def test_a_constant_map_is_ranked_by_a_permutation_of_each_image():
    problem = make_problem(batch=6, height=5, width=5)
    attributions = Attributions(torch.full((6, 2, 1, 5, 5), 0.3))
    found = ranking(problem, attributions, RNG)
    assert torch.equal(found.tied, torch.ones(6, 2))
    assert torch.equal(found.rank, ranking(problem, attributions, RNG).rank)
    assert torch.equal(found.rank[:, 0], found.rank[:, 1])
    row_major = torch.arange(25).reshape(5, 5)
    orders = [row_major.tolist(), *found.rank[:, 0].tolist()]
    assert all(a != b for position, a in enumerate(orders) for b in orders[:position])
    assert not torch.equal(found.rank, ranking(problem, attributions, Rng(seed=4, component="test")).rank)
    assert not torch.equal(found.rank, ranking(problem, attributions, Rng(seed=3, draw=1, component="test")).rank)


def test_a_map_with_nan_ranks_nothing_and_leaves_the_others_alone():
    problem = make_problem(channels=2)
    attributions = integer_maps(problem, 3, channels=2)
    broken = attributions.values.clone()
    broken[1, 0, 1, 2, 3] = torch.nan
    for pooling in ("sum", "abs_sum", "max"):
        good, found = ranking(problem, attributions, RNG, pooling), ranking(problem, Attributions(broken), RNG, pooling)
        rest = torch.ones(3, 2, dtype=torch.bool)
        rest[1, 0] = False
        assert torch.equal(found.defined, rest)
        assert good.defined.all()
        assert torch.equal(found.rank[rest], good.rank[rest])
        assert torch.equal(found.tied[rest], good.tied[rest])
        assert found.tied[1, 0].isnan()
        assert outputs(problem, found, Constant(), 4)[1, 0].isnan().all()
        assert torch.equal(outputs(problem, found, Constant(), 4)[rest], outputs(problem, good, Constant(), 4)[rest])


def test_infinite_attributions_are_ranked_at_the_ends():
    problem = make_problem(batch=1, height=2, width=2, targets=1)
    values = torch.tensor([1.0, -math.inf, math.inf, 2.0]).reshape(1, 1, 1, 2, 2)
    assert ranking(problem, Attributions(values), RNG).rank.flatten().tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pooling", ["sum", "abs_sum", "max"])
def test_ranks_do_not_depend_on_the_batch_the_neighbors_or_the_memory_layout(channels, pooling):
    problem = make_problem(batch=5, channels=3)
    values = torch.randn(5, 2, channels, 4, 4, generator=torch.Generator().manual_seed(2)).round(decimals=1)
    whole = ranking(problem, Attributions(values), RNG, pooling)
    for rows in (torch.tensor([4, 2, 0, 1, 3]), torch.tensor([2]), slice(1, 3)):
        part = ranking(problem.take(rows), Attributions(values[rows]), RNG, pooling)
        assert torch.equal(part.rank, whole.rank[rows])
        assert torch.equal(part.tied, whole.tied[rows])
    strided = values.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0)
    assert torch.equal(ranking(problem, Attributions(strided), RNG, pooling).rank, whole.rank)
    renumbered = replace(problem, index=torch.arange(5))
    assert not torch.equal(ranking(renumbered, Attributions(values), RNG, pooling).rank, whole.rank)


@few
@given(seed=st.integers(0, 2**20), high=st.integers(0, 5))
def test_property_a_ranking_is_a_permutation_in_descending_order(seed, high):
    problem = make_problem(seed=seed)
    attributions = integer_maps(problem, high, seed=seed)
    rank = ranking(problem, attributions, RNG).rank.flatten(2).long()
    assert torch.equal(rank.sort(dim=2).values, torch.arange(16).expand(3, 2, 16))
    ordered = torch.empty(3, 2, 16).scatter_(2, rank, attributions.values.flatten(2))
    assert (ordered.diff(dim=2) <= 0).all()


@few
@given(seed=st.integers(0, 2**20), scale=st.floats(0.01, 100), high=st.integers(0, 9))
def test_property_an_increasing_function_of_the_attributions_has_the_same_ranking(seed, scale, high):
    problem = make_problem(seed=seed)
    attributions = integer_maps(problem, high, seed=seed)
    before = ranking(problem, attributions, RNG)
    for change in (lambda v: v * scale, lambda v: (v / 4).exp(), lambda v: v**3 - 7, lambda v: v.atan()):
        after = ranking(problem, Attributions(change(attributions.values)), RNG)
        assert torch.equal(before.rank, after.rank)
        assert torch.equal(before.tied, after.tied)


def test_a_decreasing_function_has_another_ranking():
    problem = make_problem()
    attributions = distinct_maps(problem)
    flipped = ranking(problem, Attributions(-attributions.values), RNG).rank
    assert torch.equal(flipped, 15 - ranking(problem, attributions, RNG).rank)


@pytest.mark.parametrize("shape", [(2, 2, 1, 4, 4), (3, 1, 1, 4, 4), (3, 2, 1, 4, 5), (3, 2, 2, 4, 4), (3, 2, 4, 4)])
def test_a_wrong_shape_is_refused_with_both_shapes(shape):
    problem = make_problem(channels=3)
    with pytest.raises(ValueError) as error:
        ranking(problem, Attributions(torch.zeros(shape)), RNG)
    assert str(shape) in str(error.value)
    assert "(3, 3, 4, 4)" in str(error.value)


# a change here changes every stored result, so VERSION must change with it
GOLDEN_RANK = [7, 0, 4, 2, 3, 8, 1, 6, 5]
GOLDEN_CURVES = [[0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 2, 0, 4, 5, 0, 7, 8], [0, 0, 0, 0, 0, 5, 0, 7, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0]]


def test_golden_outputs_of_curves():
    problem = golden_problem()
    values = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, -1.0], [2.0, 0.0, 0.0]]).reshape(1, 1, 1, 3, 3)
    ranked = ranking(problem, Attributions(values), RNG)
    found = (8 * sent(problem, ranked, Constant(), 3)).int().flatten(0, 2).tolist()
    assert (perturb.VERSION, curves.VERSION, ranked.rank.flatten().tolist(), found) == (1, 1, GOLDEN_RANK, GOLDEN_CURVES)


def ranked_regions(problem, attributions, superpixels):
    """The definition, with loops: regions by their mean, ties in the order of the image's permutation; (B, T, H, W)."""
    regions = superpixels(problem.images).expand(len(problem.images), -1, -1)
    found = torch.empty(*problem.targets.shape, *problem.images.shape[2:], dtype=torch.int32)
    for b, region in enumerate(regions):
        count = int(region.max()) + 1
        permutation = RNG.each(problem.index[b : b + 1]).permutation(count)[0].tolist()
        for t in range(problem.targets.shape[1]):
            pooled = attributions.values[b, t].double().sum(0)
            means = [pooled[region == number].mean().item() for number in range(count)]
            order = sorted(range(count), key=lambda number: (-means[number], permutation.index(number)))
            for rank, number in enumerate(order):
                found[b, t][region == number] = rank
    return found


class Bands(Superpixels):
    """As many bands of rows as an image's first pixel says: images differ in their number of regions."""

    shared = False

    def __call__(self, images):
        rows = torch.arange(images.shape[2]).expand(len(images), -1)
        count = (images[:, 0, 0, :1] * 4).ceil().clamp(1, 4)
        return (rows * count // images.shape[2]).long()[..., None].expand(-1, -1, images.shape[3]).contiguous()


@pytest.mark.parametrize("superpixels", [Squares(side=2), Squares(side=3), Bands()])
def test_regions_are_ranked_by_the_mean_of_their_pixels(superpixels):
    problem = make_problem(channels=3, height=5, width=4, batch=6)
    attributions = integer_maps(problem, 2, channels=3)
    found = ranking(problem, attributions, RNG, superpixels=superpixels)
    assert torch.equal(found.rank, ranked_regions(problem, attributions, superpixels))
    assert torch.equal(found.regions, superpixels(problem.images).flatten(1).amax(1).expand(6) + 1)
    assert superpixels.shared or len(found.regions.unique()) > 1
    for rows in (torch.tensor([4, 2, 0]), torch.tensor([1])):  # an image's regions do not depend on how many its neighbors have
        part = ranking(problem.take(rows), attributions.take(rows), RNG, superpixels=superpixels)
        assert torch.equal(part.rank, found.rank[rows])
        assert torch.equal(part.tied, found.tied[rows])
        assert part.most == found.most


def test_tied_regions_are_counted_among_those_that_an_image_has():
    problem = make_problem(height=4, width=4, targets=1, batch=2)
    problem.images[:, 0, 0, 0] = torch.tensor([0.9, 0.4])  # 4 bands, and 2
    maps = torch.tensor([[1.0, 2.0, 3.0, 3.0], [5.0, 5.0, 5.0, 5.0]])[:, None, None, :, None].expand(2, 1, 1, 4, 4)
    assert ranking(problem, Attributions(maps), RNG, superpixels=Bands()).tied[:, 0].tolist() == [0.5, 1.0]


def test_ties_row_by_row():
    problem = make_problem(batch=2)
    constant = Attributions(torch.ones(2, 2, 1, 4, 4))
    assert torch.equal(ranking(problem, constant, RNG, ties="row_major").rank, torch.arange(16).int().reshape(4, 4).expand(2, 2, 4, 4))
