from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from perturb_cases import RNG, distinct_maps, few, make_problem, outputs, sent

from xaibench.curves import area, counts, fractions, points, ranking
from xaibench.problem import Attributions
from xaibench.removal import Constant, Marginal, TrainingMean, UniformNoise
from xaibench.seeding import Rng
from xaibench.superpixels import Pixels as AllPixels
from xaibench.superpixels import Slic, Squares, Superpixels


@pytest.mark.parametrize(("height", "width", "steps"), [(28, 28, 28), (28, 28, 10), (8, 8, 28), (3, 3, 2), (3, 5, 4), (2, 2, 4), (1, 1, 1)])
def test_counts_are_rounded_and_fractions_exact(height, width, steps):
    problem, pixels = make_problem(height=height, width=width), height * width
    expected = [round(s * pixels / steps) for s in range(steps + 1)]
    ranked = ranking(problem, distinct_maps(problem), RNG)
    assert counts(ranked, steps).tolist() == [expected] * 3
    assert fractions(ranked, steps).tolist() == [count / pixels for count in expected]
    assert points(problem, AllPixels(), steps) == len(expected)


def test_more_steps_than_pixels_become_one_step_for_each_pixel():
    problem = make_problem(height=8, width=8)
    ranked = ranking(problem, distinct_maps(problem), RNG)
    assert counts(ranked, 1000)[1].tolist() == list(range(65))
    assert sent(problem, ranked, Constant(), 1000).shape == (3, 2, 65, 64)
    assert points(problem, AllPixels(), 1000) == 65


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
    assert torch.equal(sent(problem, ranked, Constant(), steps, first), expected)
    off_by_one = replace(ranked, rank=(ranked.rank + 1) % 16)
    assert steps == 1 or not torch.equal(sent(problem, off_by_one, Constant(), steps, first), expected)
    swapped = replace(ranked, rank=ranked.rank.flip(1))
    assert steps == 1 or not torch.equal(sent(problem, swapped, Constant(), steps, first), expected)


def test_curves_go_through_the_model_in_full_chunks():
    problem = make_problem(chunk=7)
    masks = []

    class Spy(Constant):
        def __call__(self, images, kept, problem, draw=None):
            masks.append(len(kept))
            return super().__call__(images, kept, problem)

    outputs(problem, ranking(problem, distinct_maps(problem), RNG), Spy(), 5)
    assert sum(problem.model.sizes) == problem.targets.numel() * points(problem, AllPixels(), 5) == 36
    assert problem.model.sizes == masks == [7] * 5 + [1]


def test_the_chunk_changes_nothing():
    problem = make_problem()
    ranked = ranking(problem, distinct_maps(problem), RNG)
    for removal in (TrainingMean(), UniformNoise(samples=3), Marginal(samples=2)):
        whole = outputs(problem, ranked, removal, 5)
        assert all(torch.equal(whole, outputs(replace(problem, chunk=chunk), ranked, removal, 5)) for chunk in (1, 5, 100))


@few
@given(seed=st.integers(0, 2**20), steps=st.integers(1, 20))
def test_property_reversed_attributions_swap_the_two_orders(seed, steps):
    problem = make_problem(seed=seed)
    attributions = distinct_maps(problem, seed=seed)
    ranked = ranking(problem, attributions, RNG)
    turned = ranking(problem, Attributions(-attributions.values), RNG)
    most = sent(problem, ranked, Constant(), steps, "most")
    least = sent(problem, ranked, Constant(), steps, "least")
    assert torch.equal(sent(problem, turned, Constant(), steps, "least"), most)
    assert torch.equal(sent(problem, turned, Constant(), steps, "most"), least)
    assert steps == 1 or not torch.equal(most, least)


@few
@given(seed=st.integers(0, 2**20), steps=st.integers(1, 20))
def test_property_both_orders_split_the_image_between_them(seed, steps):
    problem = make_problem(seed=seed)
    ranked = ranking(problem, distinct_maps(problem, seed=seed), RNG)
    most, least = (sent(problem, ranked, Constant(), steps, first) for first in ("most", "least"))
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


READS = {
    "logit": lambda logits, k: logits[k],
    "probability": lambda logits, k: logits.exp()[k] / logits.exp().sum(),
    "log_probability": lambda logits, k: (logits.exp()[k] / logits.exp().sum()).log(),
    "log_odds": lambda logits, k: (logits.exp()[k] / (logits.exp().sum() - logits.exp()[k])).log(),
    "correct": lambda logits, k: float(max(range(len(logits)), key=lambda other: (logits[other].item(), -other)) == k),
}


@pytest.mark.parametrize("read", READS)
def test_reads_are_those_of_the_chosen_class(read):
    problem = make_problem()
    ranked, classes = ranking(problem, distinct_maps(problem), RNG), torch.tensor([[0, 4], [1, 1], [3, 15]])
    logits = sent(problem, ranked, Constant(), 4)
    found = outputs(problem, ranked, Constant(), 4, read=read, classes=classes)
    for b, t, s in torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(5)).tolist():
        assert found[b, t, s].item() == pytest.approx(float(READS[read](logits[b, t, s], classes[b, t].item())), rel=1e-5, abs=1e-6)


def test_reads_of_several_draws_are_averaged_and_not_the_images():
    problem = make_problem(channels=2)
    ranked = ranking(problem, distinct_maps(problem), RNG)
    found = outputs(problem, ranked, Marginal(samples=3), 4, read="probability")
    each = [
        outputs(replace(problem, background=problem.background[d : d + 1]), ranked, Marginal(1), 4, read="probability") for d in range(3)
    ]
    assert torch.allclose(found, sum(each) / 3, atol=1e-6)
    mean = replace(problem, background=problem.background[:3])
    assert not torch.allclose(found, outputs(mean, ranked, TrainingMean(), 4, read="probability"), atol=1e-6)


def test_drawn_pixels_stay_the_same_along_a_curve_and_differ_between_images_and_draws():
    problem = make_problem()
    problem = replace(problem, images=problem.images[:1].expand(3, -1, -1, -1).clone())
    maps = Attributions(distinct_maps(problem).values[:1, :1].expand(3, 2, 1, 4, 4))
    ranked = replace(ranking(problem, maps, RNG))
    (noisy,) = (sent(problem, ranked, UniformNoise(), 16),)
    gone = noisy[:, :, -1]
    assert torch.equal(torch.where(noisy == problem.images[0].flatten(), gone[:, :, None], noisy), gone[:, :, None].expand(noisy.shape))
    assert torch.equal(gone[:, 0], gone[:, 1])
    assert not torch.allclose(gone[0, 0], gone[1, 0])
    two = sent(problem, ranked, UniformNoise(samples=2), 16).unflatten(2, (17, 2))[:, :, -1]
    assert not torch.allclose(two[:, :, 0], two[:, :, 1])
    again = problem.take(torch.tensor([2]))
    assert torch.equal(sent(again, ranking(again, maps.take(torch.tensor([2])), RNG), UniformNoise(), 16)[:, :, -1], gone[2:])


def test_regions_go_as_a_whole():
    problem = make_problem(height=6, width=6)
    superpixels = Squares(side=2)
    ranked = ranking(problem, distinct_maps(problem), RNG, superpixels=superpixels)
    found = sent(problem, ranked, Constant(), 100).reshape(3, 2, 5, 2, 3, 2, 3)
    assert points(problem, superpixels, 100) == 5
    removed = (found == 0).all(dim=(4, 6))
    assert torch.equal(removed, (found == 0).any(dim=4).any(dim=5))
    assert torch.equal(removed.flatten(3).sum(3), torch.arange(5).expand(3, 2, 5))


@dataclass(frozen=True)
class Halves(Superpixels):
    """Two halves of the first image, six rows of the others."""

    shared = False

    def __call__(self, images):
        row = torch.arange(6)[None, :, None].expand(len(images), 6, 6)
        return torch.where((torch.arange(len(images)) == 0)[:, None, None], row // 3, row)


def test_regions_that_an_image_does_not_have_come_last_even_behind_one_at_minus_infinity():
    problem = make_problem(height=6, width=6)
    for seed in range(20):  # ties are drawn
        maps = distinct_maps(problem)
        maps.values[0, :, :, :3] = -torch.inf
        ranked = ranking(problem, maps, Rng(seed, 0, "test"), superpixels=Halves())
        assert ranked.rank[0, 0, :, 0].tolist() == [1, 1, 1, 0, 0, 0]
        assert ranked.tied[0].tolist() == [0.0, 0.0]


def test_images_with_different_numbers_of_regions_reach_both_ends():
    problem = make_problem(height=12, width=12, channels=3)
    problem.images[0, :, :6] = 0.1
    problem.images[1, :, :, ::3] = 0.9
    ranked = ranking(problem, distinct_maps(problem), RNG, superpixels=Slic(regions=8, compactness=10))
    assert len(ranked.regions.unique()) > 1
    assert counts(ranked, 5)[:, -1].tolist() == ranked.regions.tolist()
    found = sent(problem, ranked, Constant(), 5)
    assert torch.equal(found[:, :, 0], problem.images.flatten(1)[:, None].expand(3, 2, -1))
    assert not found[:, :, -1].any()
    assert fractions(ranked, 5).tolist() == [s / 5 for s in range(6)]
    assert points(problem, Slic(regions=8, compactness=10), 5) == 6
