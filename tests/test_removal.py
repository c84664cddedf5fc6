import math
from dataclasses import replace

import pytest
import torch
from perturb_cases import RNG, golden_problem, make_problem

from xaibench import removal
from xaibench.component import ConfigurationError
from xaibench.imputation import linear_imputation
from xaibench.removal import (
    Blur,
    Constant,
    DatasetMean,
    Inpainting,
    Inversion,
    Marginal,
    NoisyLinear,
    TrainingMean,
    UniformNoise,
    several_draws,
)


def some_mask(images, seed=0):
    return torch.rand(len(images), 1, *images.shape[2:], generator=torch.Generator().manual_seed(seed)) < 0.5


@pytest.mark.parametrize("operator", [Constant(0.25), DatasetMean(), TrainingMean(), Blur(1.5), Marginal(1), Inversion(), Inpainting()])
def test_kept_pixels_stay_removed_ones_change_and_nothing_else_does(operator):
    problem = make_problem(batch=4, channels=3)
    kept, images, background = some_mask(problem.images), problem.images.clone(), problem.background.clone()
    found = operator(problem.images, kept, problem)
    wide = kept.expand(images.shape)
    assert torch.equal(found[wide], images[wide])
    assert (found[~wide] != images[~wide]).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert torch.equal(problem.images, images)
    assert torch.equal(problem.background, background)
    assert torch.allclose(operator(problem.images[1:2], kept[1:2], problem), found[1:2], rtol=1e-5, atol=0)


def test_constant_and_training_mean_give_their_values():
    problem = make_problem(channels=3)
    nothing = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    assert torch.equal(Constant(0.25)(problem.images, nothing, problem), torch.full((3, 3, 4, 4), 0.25))
    mean = sum(problem.background) / 5
    assert torch.allclose(TrainingMean()(problem.images, nothing, problem), mean.expand(3, 3, 4, 4))
    assert not torch.allclose(mean, problem.background.mean().expand(3, 4, 4))


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_blur_is_the_weighted_mean_of_its_definition(sigma):
    problem = make_problem(channels=2, height=4, width=5)
    found = Blur(sigma)(problem.images, torch.zeros(3, 1, 4, 5, dtype=torch.bool), problem)

    def weighted_mean(row, column, variance):
        total = torch.zeros(3, 2)
        weights = 0.0
        for i in range(4):
            for j in range(5):
                weight = math.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * variance))
                total, weights = total + weight * problem.images[:, :, i, j], weights + weight
        return total / weights

    for row in range(4):
        for column in range(5):
            assert torch.allclose(found[:, :, row, column], weighted_mean(row, column, sigma**2), atol=1e-6)
    assert not torch.allclose(found[:, :, 0, 0], weighted_mean(0, 0, sigma), atol=1e-3)


def test_a_tiny_sigma_blurs_nothing_and_a_huge_one_everything():
    problem = make_problem()
    nothing = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    assert torch.allclose(Blur(1e-4)(problem.images, nothing, problem), problem.images)
    mean = problem.images.mean(dim=(2, 3), keepdim=True).expand(3, 1, 4, 4)
    assert torch.allclose(Blur(1e4)(problem.images, nothing, problem), mean, atol=1e-6)


def test_marginal_takes_the_pixels_of_the_background_image_that_is_asked_for():
    problem = make_problem(batch=4, channels=3)
    kept, draw = some_mask(problem.images), torch.tensor([2, 0, 2, 1])
    assert Marginal(3).draws(problem) == 3
    found = Marginal(3)(problem.images, kept, problem, draw)
    assert torch.equal(found, torch.where(kept, problem.images, problem.background[draw]))
    assert not torch.equal(found, torch.where(kept, problem.images, problem.background[:4]))


def test_marginal_takes_no_more_images_than_there_are():
    problem = make_problem()
    assert Marginal(99).draws(problem) == 5
    assert Constant().draws(problem) == TrainingMean().draws(problem) == Blur().draws(problem) == 1
    with pytest.raises(ConfigurationError, match=r"Marginal\(samples=3\) gives 3 versions"):
        Marginal(3)(problem.images, some_mask(problem.images), problem)
    assert "5 versions" in several_draws(Marginal(99), problem)
    assert several_draws(Marginal(1), problem) is None


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_mixing_is_exact(value):
    """Not up to rounding: a kept pixel is the image's own, a removed one the operator's."""
    problem = make_problem(batch=50, channels=2, height=9, width=9)
    kept = some_mask(problem.images)
    expected = torch.where(kept, problem.images, torch.tensor(value))
    assert torch.equal(Constant(value)(problem.images, kept, problem), expected)
    assert not torch.equal(problem.images * kept + (value + 1e-7) * ~kept, expected)


@pytest.mark.parametrize(("operator", "field"), [(lambda: Constant(1.5), "Constant.value=1.5"), (lambda: Blur(0.0), "Blur.sigma=0.0")])
def test_impossible_values_are_refused(operator, field):
    with pytest.raises(ConfigurationError, match=field):
        operator()


# a change here changes every stored result, so VERSION must change with it
GOLDEN_REMOVAL = [
    [0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0],
    [0.0, 0.070312, 0.15625, 0.257812, 0.5, 0.507812, 0.65625, 0.820312, 1.0],
    [0.0, 0.313849, 0.3759, 0.43795, 0.5, 0.56205, 0.6241, 0.686151, 1.0],
]


def test_golden_outputs_of_removal():
    problem = golden_problem()
    kept = torch.eye(3, dtype=torch.bool)[None, None]
    found = [operator(problem.images, kept, problem).flatten() for operator in (Constant(0.5), TrainingMean(), Blur(1.0))]
    assert removal.VERSION == 1
    assert torch.allclose(torch.stack(found), torch.tensor(GOLDEN_REMOVAL), atol=1e-6)


ALL = [Constant(0.5), DatasetMean(), TrainingMean(), Blur(1.0), Marginal(2), Inversion(), Inpainting(), UniformNoise(2), NoisyLinear(2)]


@pytest.mark.parametrize("operator", ALL, ids=lambda operator: type(operator).__name__)
def test_prepared_removes_from_rows_of_the_problem_whatever_the_batch(operator):
    problem = make_problem(batch=4, channels=3, height=6, width=5)
    rows, draw = torch.tensor([2, 0, 2, 1]), torch.arange(4) % operator.draws(problem)
    kept = some_mask(problem.images)
    found = operator.prepared(problem, RNG)(rows, kept, draw)
    wide = kept.expand(found.shape)
    assert torch.equal(found[wide], problem.images[rows][wide])
    assert (found[~wide] != problem.images[rows][~wide]).all()
    assert operator.unsupported(problem) is None
    alone = operator.prepared(problem.take(rows[1:2]), RNG)(torch.zeros(1, dtype=torch.int64), kept[1:2], draw[1:2])
    assert torch.allclose(alone, found[1:2], atol=1e-4 if isinstance(operator, NoisyLinear) else 1e-6)
    if not operator.random:
        assert torch.allclose(operator(problem.images[rows], kept, problem, draw), found)


def test_dataset_mean_has_one_value_in_each_channel_and_inversion_flips():
    problem = make_problem(channels=3)
    nothing = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    means = torch.stack([sum(image[channel].mean() for image in problem.background) / 5 for channel in range(3)])
    assert torch.allclose(DatasetMean()(problem.images, nothing, problem), means[:, None, None].expand(3, 3, 4, 4))
    assert torch.equal(Inversion()(problem.images, nothing, problem), 1 - problem.images)


def test_uniform_noise_is_uniform_and_noisy_linear_is_the_imputation_plus_its_noise():
    problem = make_problem(batch=50, channels=2, height=8, width=8)
    rows, zero = torch.arange(50), torch.zeros(50, dtype=torch.int64)
    nothing, half = torch.zeros(50, 1, 8, 8, dtype=torch.bool), some_mask(problem.images)
    drawn = UniformNoise().prepared(problem, RNG)(rows, nothing, zero)
    assert abs(drawn.mean() - 0.5) < 0.02
    assert abs(drawn.var() - 1 / 12) < 0.01
    found = NoisyLinear(deviation=0.1).prepared(problem, RNG)(rows, half, zero)
    rest = (found - linear_imputation(problem.images, half, problem.background.mean(0)))[~half.expand(found.shape)]
    assert abs(rest.mean()) < 0.01
    assert abs(rest.std() - 0.1) < 0.01


def test_what_is_drawn_or_needs_a_background_says_so():
    problem = make_problem()
    nothing = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    for operator in (UniformNoise(), NoisyLinear()):
        with pytest.raises(ConfigurationError, match="draws nothing"):
            operator(problem.images, nothing, problem)
        assert "draws what a removed pixel becomes" in several_draws(operator, problem)
    without = replace(problem, background=problem.background[:0])
    for operator in ALL:
        needed = type(operator) in (DatasetMean, TrainingMean, Marginal, NoisyLinear, Inpainting)
        assert operator.uses_background == needed
        reason = f"{type(operator).__name__} needs background images, and there are none"
        assert operator.unsupported(without) == (reason if needed else None)
        if not needed:
            zero = torch.zeros(3, dtype=torch.int64)
            assert operator.prepared(without, RNG)(torch.arange(3), nothing, zero).isfinite().all()
