"""Controls against their definitions; every check must reject mutants."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import torch
from explainer_cases import RNG, Explain, all_classes, conv_problem, make_problem, negated, rejects, scaled
from scipy import stats
from torch.testing import assert_close

from xaibench import curves
from xaibench.explainers.blurred_random import BlurredRandom
from xaibench.explainers.center_prior import CenterPrior
from xaibench.explainers.constant import Constant
from xaibench.explainers.gaussian_random import GaussianRandom
from xaibench.explainers.laplace import Laplace
from xaibench.explainers.random import Random
from xaibench.explainers.sobel import Sobel
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


def same_for_all_targets(explain: Explain) -> Explain:
    def mutant(problem: Problem, rng: Rng) -> Attributions:
        values = explain(problem, rng).values
        return Attributions(values[:, :1].expand_as(values))

    return mutant


def check_normal(explain: Explain) -> None:
    values = explain(make_problem(None, torch.zeros(20, 1, 30, 30), all_classes(20, 5)), RNG).values
    assert values.shape == (20, 5, 1, 30, 30)
    assert stats.kstest(values.flatten().numpy(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(values.flatten(0, 1).flatten(1).numpy())
    assert np.abs(correlation - np.eye(100)).max() < 0.2


def test_gaussian_random_is_normal_and_independent_over_images_and_targets():
    check_normal(GaussianRandom())
    for mutant in (scaled(GaussianRandom()), same_for_all_targets(GaussianRandom()), Random()):
        rejects(check_normal, mutant)


def test_constant_ties_all_pixels():
    problem = conv_problem()

    def check(explain: Explain) -> None:
        found = explain(problem, RNG)
        assert torch.equal(found.values, torch.ones(5, 3, 1, 9, 11))
        assert (curves.ranking(problem, found, RNG).tied == 1).all()

    check(Constant())
    for mutant in (negated(Constant()), CenterPrior(), Random()):
        rejects(check, mutant)


def check_second_differences(explain: Explain) -> None:
    problem = conv_problem()
    channels = problem.images.flatten(0, 1).double().numpy()
    expected = np.stack([np.abs(scipy.ndimage.laplace(channel, mode="nearest")) for channel in channels])
    expected = torch.from_numpy(expected).float().reshape(5, 1, 3, 9, 11).expand(-1, 3, -1, -1, -1)
    assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-5)


def test_laplace_is_the_magnitude_of_scipys():
    check_second_differences(Laplace())
    for mutant in (scaled(Laplace()), negated(Laplace()), Sobel()):
        rejects(check_second_differences, mutant)


@pytest.mark.parametrize("sigma", [0.25, 0.6])
def test_center_prior_falls_off_from_the_center(sigma):
    problem = conv_problem()

    def check(explain: Explain) -> None:
        found = explain(problem, RNG).values
        for i, j in np.ndindex(9, 11):
            squared = ((i - 4) / 9) ** 2 + ((j - 5) / 11) ** 2
            assert_close(found[:, :, 0, i, j], torch.full((5, 3), float(np.exp(-squared / (2 * sigma**2)))), rtol=1e-5, atol=1e-7)

    check(CenterPrior(sigma=sigma))
    for mutant in (CenterPrior(sigma=sigma * 1.1), scaled(CenterPrior(sigma=sigma)), Constant()):
        rejects(check, mutant)


def check_blurred(explain: Explain) -> None:
    problem = conv_problem()
    found = explain(problem, RNG).values
    rows, columns = (torch.arange(size).double() for size in (9, 11))
    for row, target in np.ndindex(5, 3):
        noise = RNG.each(problem.index[row, None], problem.targets[row, target, None]).uniform(9, 11)[0].double()
        for i, j in ((0, 0), (4, 5), (8, 2)):
            weights = torch.exp(-((rows[:, None] - i) ** 2 + (columns - j) ** 2) / (2 * 1.1**2))
            assert_close(found[row, target, 0, i, j], ((noise * weights).sum() / weights.sum()).float(), rtol=1e-5, atol=1e-6)


def test_blurred_random_is_blurred_uniform_noise():
    check_blurred(BlurredRandom())
    for mutant in (BlurredRandom(sigma=0.12), same_for_all_targets(BlurredRandom()), Random(), scaled(BlurredRandom())):
        rejects(check_blurred, mutant)


def check_smooth(explain: Explain) -> None:
    values = explain(make_problem(None, torch.zeros(10, 1, 28, 28), all_classes(10, 2)), RNG).values
    neighbors = [values[..., 1:].flatten().numpy(), values[..., :-1].flatten().numpy()]
    assert np.corrcoef(*neighbors)[0, 1] > 0.9
    assert abs(values.mean() - 0.5) < 0.02
    assert 0 < values.min() < values.max() < 1


def test_blurred_random_is_smooth():
    check_smooth(BlurredRandom())
    for mutant in (Random(), negated(BlurredRandom()), scaled(BlurredRandom(), 1.1)):
        rejects(check_smooth, mutant)


@pytest.mark.parametrize("control", [GaussianRandom(), Constant(), Laplace(), CenterPrior(), BlurredRandom()], ids=repr)
def test_the_classifier_does_not_matter(control):
    problem = conv_problem()
    without = dataclasses.replace(problem, model=None, probabilities=None)
    assert torch.equal(control(problem, RNG).values, control(without, RNG).values)
