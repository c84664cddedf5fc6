import math

import pytest
import torch
from perturb_cases import golden_problem, make_problem

from xaibench import removal
from xaibench.component import ConfigurationError
from xaibench.removal import Blur, Constant, Marginal, TrainingMean, several_draws


def some_mask(images, seed=0):
    return torch.rand(len(images), 1, *images.shape[2:], generator=torch.Generator().manual_seed(seed)) < 0.5


@pytest.mark.parametrize("operator", [Constant(0.25), TrainingMean(), Blur(1.5), Marginal(1)])
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
