from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ranking_cases import RNG, conv_problem, random_attributions

from xaibench.metrics.sparseness import Sparseness
from xaibench.problem import Attributions, Passes


def gini(numbers):
    """Textbook: the mean absolute difference of all pairs, over twice the mean."""
    size = len(numbers)
    return sum(abs(a - b) for a in numbers for b in numbers) / (2 * size * sum(numbers))


def sparseness(maps, **fields):
    """The scores of maps (B, T, C, 6, 6)."""
    batch, targets = maps.shape[:2]
    return Sparseness(**fields)(conv_problem(batch=batch, targets=targets), Attributions(maps), RNG).values["value"]


@pytest.mark.parametrize("pooling", ["sum", "abs_sum", "max"])
def test_it_is_the_gini_index_of_the_absolute_pooled_values(pooling):
    maps = random_attributions(conv_problem()).values
    pools = {"sum": maps.sum(dim=2), "abs_sum": maps.abs().sum(dim=2), "max": maps.amax(dim=2)}
    found = sparseness(maps, pooling=pooling)
    for b in range(4):
        for t in range(2):
            numbers = pools[pooling][b, t].flatten().tolist()
            assert found[b, t].item() == pytest.approx(gini([abs(number) for number in numbers]), rel=1e-5)
            shifted = gini([number - min(numbers) for number in numbers])  # a mutant that shifts instead of taking absolute values
            assert found[b, t].item() != pytest.approx(shifted, rel=1e-3)


def test_its_ends():
    maps = torch.zeros(3, 1, 1, 6, 6)
    maps[0] = -0.4
    maps[1, 0, 0, 2, 3] = -5.0
    found = sparseness(maps).flatten()
    assert found[:2].tolist() == pytest.approx([0.0, 1 - 1 / 36])
    assert found[2].isnan()


def test_rounding_does_not_leave_the_range():
    problem = conv_problem(batch=1, targets=1)  # 51 equal values: 1 - 2 sum ... is -2e-16 when rounded
    problem = replace(problem, images=torch.rand(1, 3, 3, 17))
    assert Sparseness()(problem, Attributions(torch.full((1, 1, 1, 3, 17), 0.7)), RNG).values["value"].item() == 0.0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nan_and_infinite_maps_have_no_score(bad):
    maps = random_attributions(conv_problem()).values
    maps[1, 0, 2, 3, 3] = bad
    assert sparseness(maps).isnan().nonzero().tolist() == [[1, 0]]


@settings(deadline=None, max_examples=20, derandomize=True, database=None)
@given(seed=st.integers(0, 2**20), scale=st.floats(1e-6, 1e6))
def test_property_scale_sign_and_place_do_not_matter_and_the_range_holds(seed, scale):
    maps = random_attributions(conv_problem(), channels=1, seed=seed).values
    found = sparseness(maps)
    assert ((found >= 0) & (found <= 1)).all()
    assert torch.allclose(sparseness(-scale * maps), found, rtol=1e-5)
    shuffled = maps.flatten(3)[..., torch.randperm(36, generator=torch.Generator().manual_seed(seed))].reshape(maps.shape)
    assert torch.allclose(sparseness(shuffled), found, rtol=1e-5)
    assert (sparseness(maps**3) > found).all()


def test_images_are_scored_alone_and_without_the_model():
    maps = random_attributions(conv_problem()).values
    assert torch.allclose(sparseness(maps[2:3]), sparseness(maps)[2:3], rtol=1e-5, atol=0)
    assert Sparseness().passes(conv_problem(), None) == Passes(0, 0)


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 2, 3, 6, 5\).*\(4, 3, 6, 6\)"):
        Sparseness()(conv_problem(), Attributions(torch.zeros(4, 2, 3, 6, 5)), RNG)
