from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from perturb_cases import RNG, distinct_maps, few, make_problem

from xaibench import perturb
from xaibench.perturb import Ranking, area, counts, curves, fractions, ranking
from xaibench.problem import Attributions
from xaibench.removal import Constant, TrainingMean


@pytest.mark.parametrize(("height", "width", "steps"), [(28, 28, 28), (28, 28, 10), (8, 8, 28), (3, 3, 2), (3, 5, 4), (2, 2, 4), (1, 1, 1)])
def test_counts_are_rounded_and_fractions_exact(height, width, steps):
    problem, pixels = make_problem(height=height, width=width), height * width
    expected = [round(s * pixels / steps) for s in range(steps + 1)]
    assert counts(problem, steps).tolist() == expected
    assert fractions(problem, steps).tolist() == [count / pixels for count in expected]


def test_more_steps_than_pixels_become_one_step_for_each_pixel():
    problem = make_problem(height=8, width=8)
    assert counts(problem, 1000).tolist() == list(range(65))
    found = curves(problem, ranking(problem, distinct_maps(problem), RNG), Constant(), 1000)
    assert found.shape == (3, 2, 65, 64)
    assert perturb.curve_passes(problem, 1000).forward == 3 * 2 * 65


def removed_images(problem, attributions, steps, first):
    """The definition, with loops: (B, T, S + 1, C H W) images, black where removed, for maps without ties."""
    batch, targets, _, _height, width = attributions.values.shape
    steps = min(steps, attributions.values[0, 0, 0].numel())
    result = torch.empty(batch, targets, steps + 1, problem.images[0].numel())
    for b in range(batch):
        for t in range(targets):
            pooled = attributions.values[b, t].sum(dim=0).flatten().tolist()
            order = sorted(range(len(pooled)), key=lambda p: pooled[p], reverse=first == "most")
            for s in range(steps + 1):
                image = problem.images[b].clone()
                for pixel in order[: round(s * len(pooled) / steps)]:
                    image[:, pixel // width, pixel % width] = 0
                result[b, t, s] = image.flatten()
    return result


@pytest.mark.parametrize("first", ["most", "least"])
@pytest.mark.parametrize("steps", [1, 3, 7, 16, 40])
def test_curves_send_the_images_of_the_definition(first, steps):
    problem = make_problem(channels=2)
    attributions = distinct_maps(problem)
    ranked = ranking(problem, attributions, RNG)
    expected = removed_images(problem, attributions, steps, first)
    assert torch.equal(curves(problem, ranked, Constant(), steps, first), expected)
    off_by_one = Ranking((ranked.rank + 1) % 16, ranked.tied, ranked.defined)
    assert steps == 1 or not torch.equal(curves(problem, off_by_one, Constant(), steps, first), expected)
    swapped = Ranking(ranked.rank.flip(1), ranked.tied, ranked.defined)
    assert steps == 1 or not torch.equal(curves(problem, swapped, Constant(), steps, first), expected)


def test_curves_go_through_the_model_in_full_chunks():
    problem = make_problem(chunk=7)
    masks = []

    class Spy(Constant):
        def __call__(self, images, kept, problem):
            masks.append(len(kept))
            return super().__call__(images, kept, problem)

    curves(problem, ranking(problem, distinct_maps(problem), RNG), Spy(), 5)
    assert sum(problem.model.sizes) == perturb.curve_passes(problem, 5).forward == 36
    assert problem.model.sizes == masks == [7] * 5 + [1]


def test_the_chunk_changes_nothing():
    problem = make_problem()
    ranked = ranking(problem, distinct_maps(problem), RNG)
    whole = curves(problem, ranked, TrainingMean(), 5)
    assert all(torch.equal(whole, curves(replace(problem, chunk=chunk), ranked, TrainingMean(), 5)) for chunk in (1, 5, 100))


@few
@given(seed=st.integers(0, 2**20), steps=st.integers(1, 20))
def test_property_reversed_attributions_swap_the_two_orders(seed, steps):
    problem = make_problem(seed=seed)
    attributions = distinct_maps(problem, seed=seed)
    ranked = ranking(problem, attributions, RNG)
    turned = ranking(problem, Attributions(-attributions.values), RNG)
    most = curves(problem, ranked, Constant(), steps, "most")
    least = curves(problem, ranked, Constant(), steps, "least")
    assert torch.equal(curves(problem, turned, Constant(), steps, "least"), most)
    assert torch.equal(curves(problem, turned, Constant(), steps, "most"), least)
    assert steps == 1 or not torch.equal(most, least)


@few
@given(seed=st.integers(0, 2**20), steps=st.integers(1, 20))
def test_property_both_orders_split_the_image_between_them(seed, steps):
    problem = make_problem(seed=seed)
    ranked = ranking(problem, distinct_maps(problem, seed=seed), RNG)
    most, least = (curves(problem, ranked, Constant(), steps, first) for first in ("most", "least"))
    image = problem.images.flatten(1)[:, None].expand(3, 2, 16)
    for found in (most, least):
        assert torch.equal(found[:, :, 0], image)
        assert not found[:, :, -1].any()
        assert all((after <= before).all() for before, after in pairwise(found.unbind(dim=2)))
    # 16 pixels: counts are symmetric, so what the first s steps remove from one end the other steps leave at the other
    assert torch.equal(most + least.flip(2), image[:, :, None].expand(most.shape))


def test_area_is_exact_for_a_straight_line_over_uneven_fractions():
    axis = torch.tensor([0.0, 1 / 9, 4 / 9, 1.0], dtype=torch.float64)
    line = (3 - 2 * axis).float().expand(2, 3, 4)
    assert torch.allclose(area(line, axis), torch.tensor(2.0))
    assert not torch.allclose(area(line, torch.linspace(0, 1, 4, dtype=torch.float64)), torch.tensor(2.0))  # equal steps: wrong
    line = line.clone()
    line[0, 1, 2] = torch.nan
    assert area(line, axis).isnan().tolist() == [[False, True, False], [False, False, False]]


def test_outputs_are_those_of_the_chosen_class():
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([[0, 4, 2], [1, 1, 3]])
    changes = {"logit": lambda v: v, "probability": lambda v: v.softmax(-1), "log_probability": lambda v: v.log_softmax(-1)}
    for output, change in changes.items():
        found = perturb.outputs(logits, classes, output)
        for b, t, s in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
            assert found[b, t, s] == pytest.approx(change(logits[b, t, s])[classes[b, t]].item(), rel=1e-6)
