"""Infidelity against closed forms on linear models, and loops over perturbations."""

from dataclasses import replace

import pytest
import torch
from ranking_cases import RNG, conv_problem, linear_problem, random_attributions

from xaibench import perturb
from xaibench.explainers.gradient import Gradient
from xaibench.metrics import perturbations
from xaibench.metrics.infidelity import Infidelity
from xaibench.metrics.perturbations import GaussianNoise, NoisyBaseline, SquareRemoval
from xaibench.problem import Attributions
from xaibench.removal import Constant, Marginal, Removal

GAUSSIAN = GaussianNoise(samples=40)
BASELINE = NoisyBaseline(value=0.1, samples=40)
SQUARES = SquareRemoval(largest=4)
PLAIN = {"gaussian": GAUSSIAN, "baseline": BASELINE, "squares": SQUARES, "change": replace(SQUARES, product="change")}


def scores(perturbation, problem, attributions, **fields):
    return Infidelity(perturbation, **fields)(problem, attributions, RNG).values


def weights(problem):
    """(B, T, C, H, W): the gradient of a linear logit."""
    return problem.model[1].weight[problem.targets].reshape(*problem.targets.shape, *problem.images.shape[1:])


# --- closed forms


@pytest.mark.parametrize("kind", PLAIN)
def test_what_is_true_of_a_linear_logit_has_no_infidelity(kind):
    problem, effects = linear_problem()
    truth = effects if kind == "squares" else weights(problem)
    found = scores(PLAIN[kind], problem, Attributions(truth))
    assert (found["unscaled"] < 1e-10).all()
    assert torch.allclose(found["scale"], torch.ones(4, 2), atol=1e-4)
    tripled = scores(PLAIN[kind], problem, Attributions(-3 * truth))
    assert torch.allclose(tripled["scale"], torch.full((4, 2), -1 / 3), atol=1e-4)
    assert (tripled["scaled"] < 1e-10).all()
    assert (tripled["unscaled"] > 1e-3).all()
    for mutated in (truth.roll(1, dims=4), truth.flip(1)):
        assert (scores(PLAIN[kind], problem, Attributions(mutated))["scaled"] > 1e-4).all()


def test_gaussian_infidelity_of_a_linear_logit_is_the_squared_distance_to_the_gradient():
    problem, _ = linear_problem()
    maps = random_attributions(problem)
    found = scores(GaussianNoise(deviation=0.3, samples=20000), problem, maps)["unscaled"]
    expected = 0.3**2 * (maps.values - weights(problem)).flatten(2).square().sum(2)
    assert torch.allclose(found, expected, rtol=0.05)  # 5 standard errors of a mean of 20,000 squares


def test_a_zero_map_has_the_mean_squared_change_and_no_scale():
    problem = conv_problem()
    found = scores(GAUSSIAN, problem, Attributions(torch.zeros(4, 2, 1, 6, 6)))
    assert torch.equal(found["scaled"], found["unscaled"])
    assert (found["scaled"] > 0).all()
    assert found["scale"].isnan().all()


# --- loops


def squares(height, width, largest):
    for side in range(1, largest + 1):
        for top in range(height - side + 1):
            for left in range(width - side + 1):
                yield [(row, column) for row in range(top, top + side) for column in range(left, left + side)]


def noise(perturbation, shape):
    return torch.randn(perturbation.samples, *shape, generator=RNG.shared()) * perturbation.deviation


def pairs(kind, problem, phi, b, removed=0.0):
    """(I . phi, x - I) for every perturbation."""
    image = problem.images[b]
    if kind == "gaussian":
        return [((each * phi).sum(), image - each) for each in noise(GAUSSIAN, image.shape)]
    if kind == "baseline":
        return [(((image - z) * phi).sum(), z) for z in (0.1 + noise(BASELINE, image.shape)).clamp(0, 1)]
    found = []
    for square in squares(*image.shape[1:], 4):
        altered, product = image.clone(), 0.0
        for row, column in square:
            altered[:, row, column] = removed
            change = image[:, row, column] - removed if kind == "change" else 1.0
            product = product + (phi[:, row, column] * change).sum()
        found.append((product, altered))
    return found


def loop(kind, problem, attributions, scaled):
    found = torch.empty(problem.targets.shape)
    for b in range(len(problem.images)):
        for t in range(problem.targets.shape[1]):
            with torch.inference_mode():
                read = lambda image: problem.model(image[None])[0, problem.targets[b, t]].double()  # noqa: B023, E731
                drawn = pairs(kind, problem, attributions.values[b, t], b)
                product = torch.stack([dot for dot, _ in drawn]).double()
                change = torch.stack([read(problem.images[b]) - read(altered) for _, altered in drawn])
            best = torch.linalg.lstsq(product[:, None], change[:, None]).solution.item() if scaled else 1.0
            found[b, t] = ((best * product - change) ** 2).mean()
    return found


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("scaled", [True, False])
def test_scores_equal_loops_over_images_targets_and_perturbations(kind, scaled):
    problem = conv_problem()
    maps = random_attributions(problem)
    found = scores(PLAIN[kind], problem, maps, scale="optimal" if scaled else "none")
    assert torch.allclose(found["value"], loop(kind, problem, maps, scaled), rtol=1e-4)
    assert torch.equal(found["value"], found["scaled" if scaled else "unscaled"])
    assert not torch.allclose(found["value"], loop(kind, problem, maps, not scaled), rtol=1e-2)


def test_a_map_with_one_channel_says_the_same_of_all_channels():
    problem = conv_problem()
    maps = random_attributions(problem, channels=1)
    repeated = Attributions(maps.values.expand(-1, -1, 3, -1, -1).contiguous())
    for perturbation in (GAUSSIAN, BASELINE, PLAIN["change"]):
        assert torch.allclose(scores(perturbation, problem, maps)["scaled"], scores(perturbation, problem, repeated)["scaled"], rtol=1e-5)


def accumulate(monkeypatch):
    """Fault 3 of PITFALLS: the squares removed so far stay removed."""
    block = SquareRemoval._block

    def faulty(self, problem, attributions, output, removed, rng):
        return block(self, problem, attributions, output, removed.cummax(dim=0).values, rng)

    monkeypatch.setattr(SquareRemoval, "_block", faulty)


@pytest.mark.parametrize("side", [1, 4, 5, 6])
def test_fault_3_infidelity_of_quantus_squares_are_removed_one_at_a_time_and_need_not_divide_the_image(side, monkeypatch):
    problem, effects = linear_problem()
    maps = Attributions(effects.roll(1, dims=4))
    expected, number = torch.zeros(4, 2), 0
    error = (effects - maps.values).sum(2)
    for top in range(7 - side):
        for left in range(7 - side):
            expected += error[..., top : top + side, left : left + side].sum((2, 3)) ** 2
            number += 1
    perturbation = SquareRemoval(smallest=side, largest=side)
    assert torch.allclose(scores(perturbation, problem, maps)["unscaled"], expected / number, rtol=1e-3, atol=1e-7)
    if number > 1:
        accumulate(monkeypatch)
        assert not torch.allclose(scores(perturbation, problem, maps)["unscaled"], expected / number, rtol=1e-2)


def test_each_draw_of_the_removal_is_a_perturbation_of_its_own():
    problem = conv_problem()
    maps = random_attributions(problem)
    perturbation = SquareRemoval(removal=Marginal(3), largest=2)
    single = [replace(problem, background=problem.background[d : d + 1]) for d in range(3)]
    expected = torch.stack([scores(perturbation, each, maps)["unscaled"] for each in single]).mean(0)
    assert torch.allclose(scores(perturbation, problem, maps)["unscaled"], expected, rtol=1e-4)
    assert not torch.allclose(scores(perturbation, single[0], maps)["unscaled"], expected, rtol=1e-2)


def test_the_change_is_that_from_the_removed_value():
    problem, _ = linear_problem()
    for removal in (Constant(0.7), Marginal(3)):
        found = scores(SquareRemoval(removal=removal, product="change"), problem, Attributions(weights(problem)))
        assert (found["unscaled"] < 1e-10).all()


def test_sampled_squares_are_some_of_all():
    problem = conv_problem()
    maps = random_attributions(problem)
    whole, some = (scores(SquareRemoval(largest=3, samples=samples), problem, maps)["unscaled"] for samples in (None, 4000))
    assert torch.allclose(some, whole, rtol=0.2)
    assert not torch.equal(some, whole)


# --- blocks


@pytest.mark.parametrize("kind", PLAIN)
def test_blocks_of_perturbations_and_groups_of_images_change_nothing(kind, monkeypatch):
    problem = conv_problem()
    maps = random_attributions(problem)
    whole = scores(PLAIN[kind], problem, maps)
    monkeypatch.setattr(perturb, "GROUP_VALUES", 1)
    groups = scores(PLAIN[kind], problem, maps)
    if "square" in type(PLAIN[kind]).__name__.lower():  # noise is drawn block by block
        monkeypatch.setattr(perturbations, "BLOCK_VALUES", 200)
    blocks = scores(PLAIN[kind], problem, maps)
    for name in whole:
        assert torch.allclose(groups[name], whole[name], rtol=1e-4)
        assert torch.allclose(blocks[name], whole[name], rtol=1e-4)


def test_ten_thousand_noise_images_are_drawn_in_bounded_blocks():
    problem = conv_problem(batch=1)
    blocks = list(GaussianNoise(samples=100000).blocks(problem, random_attributions(problem), "logit", RNG))
    assert [block.count for block in blocks] == [38836, 38836, 22328]


# --- what is refused, what is not defined


def test_what_float32_cannot_hold_is_not_defined():
    problem = conv_problem()
    maps = random_attributions(problem)
    maps.values[0, 0] *= 1e25
    found = scores(GAUSSIAN, problem, maps)
    assert found["unscaled"].isnan().sum() == 1
    assert not found["scaled"].isnan().any()


class Whole(Removal):
    local = False

    def __call__(self, images, kept, problem, draw=None):
        return images * kept


def test_what_cannot_be_perturbed_is_refused():
    problem = conv_problem()
    assert "no square" in Infidelity(SquareRemoval(smallest=7, largest=9)).unsupported(problem, Gradient())
    assert "no square" in Infidelity(SquareRemoval(smallest=3, largest=2)).unsupported(problem, Gradient())
    assert "x - x0" in Infidelity(SquareRemoval(Whole(), product="change")).unsupported(problem, Gradient())
    assert Infidelity(SquareRemoval(Whole())).unsupported(problem, Gradient()) is None
