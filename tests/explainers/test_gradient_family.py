"""Path methods against closed forms, integrals and loops; every check must reject mutants."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from explainer_cases import (
    RNG,
    Explain,
    conv_problem,
    frozen,
    linear_problem,
    make_problem,
    negated,
    next_target,
    quadratic_problem,
    rejects,
)
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench import cost
from xaibench.baselines import BackgroundMean, Baseline, Blurred, Constant, TrainingSample, UniformNoise
from xaibench.component import ConfigurationError
from xaibench.explainers.blur_integrated_gradients import BlurIntegratedGradients
from xaibench.explainers.expected_gradients import ExpectedGradients
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.guided_integrated_gradients import GuidedIntegratedGradients
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng

BASELINES = [Constant(0.0), Constant(1.0), BackgroundMean(), Blurred(0.8), UniformNoise(3), TrainingSample(4), TrainingSample(99)]
each_baseline = pytest.mark.parametrize("baseline", BASELINES, ids=repr)


def with_background(problem: Problem) -> Problem:
    shape = problem.images.shape[1:]
    return dataclasses.replace(problem, background=torch.rand(6, *shape, generator=torch.Generator().manual_seed(8)))


def blur(images: Tensor, sigma: float) -> Tensor:
    """Pixel by pixel, in float64: Gaussian weights over the image alone, divided by their sum."""
    height, width = images.shape[-2:]
    found = torch.empty_like(images, dtype=torch.float64)
    for i, j in np.ndindex(height, width):
        squared = (torch.arange(height)[:, None] - i) ** 2 + (torch.arange(width) - j) ** 2
        weights = torch.exp(-squared.double() / (2 * sigma**2))
        found[..., i, j] = (images.double() * weights).sum((-2, -1)) / weights.sum()
    return found


def starts(baseline: Baseline, problem: Problem) -> Tensor:
    """(B, draws, C, H, W): the baselines as they are defined."""
    images, background = problem.images, problem.background
    match baseline:
        case Constant(value):
            return torch.full_like(images, value)[:, None]
        case BackgroundMean():
            return torch.stack(list(background)).mean(0).expand_as(images)[:, None]
        case Blurred(sigma):
            return blur(images, sigma).float()[:, None]
        case UniformNoise(samples):
            return torch.stack([RNG.each(problem.index, draw).uniform(*images.shape[1:]) for draw in range(samples)], 1)
        case TrainingSample(samples):
            order = torch.randperm(len(background), generator=RNG.shared())[:samples]
            return background[order].expand(len(images), -1, -1, -1, -1)
    raise AssertionError


@each_baseline
def test_integrated_gradients_of_squares_from_every_baseline(baseline):
    problem, weights = quadratic_problem()
    problem = with_background(problem)

    def check(explain: Explain) -> None:
        found = explain(problem, RNG)
        expected = weights * (problem.images**2 - starts(baseline, problem).square().mean(1))[:, None]
        assert_close(found.values, expected, rtol=1e-4, atol=1e-5)
        assert_close(found.total, expected.sum((2, 3, 4)), rtol=1e-4, atol=1e-4)

    explainer = IntegratedGradients(steps=2, baseline=baseline)
    check(explainer)
    check(IntegratedGradients(steps=3, baseline=baseline, quadrature="midpoint"))
    others = [dataclasses.replace(explainer, baseline=other) for other in BASELINES if other != baseline]
    for mutant in (negated(explainer), next_target(explainer), *others):
        rejects(check, mutant)


@each_baseline
@pytest.mark.parametrize("guided", [False, True])
def test_passes_totals_and_chunks_for_every_baseline(baseline, guided):
    explainer = GuidedIntegratedGradients(steps=4, baseline=baseline) if guided else IntegratedGradients(steps=4, baseline=baseline)
    problem = with_background(conv_problem())
    assert explainer.unsupported(problem) is None
    with cost.measure(problem.model) as counted:
        found = explainer(problem, RNG)
    assert counted.passes == explainer.passes(problem)
    with torch.no_grad():
        references = torch.stack([problem.classifier(part) for part in starts(baseline, problem)]).mean(1)
        expected = (problem.classifier(problem.images) - references).gather(1, problem.targets)
    assert_close(found.total, expected, rtol=1e-4, atol=1e-5)
    order = torch.tensor([3, 0, 4])
    for other, rows in (
        (dataclasses.replace(problem, chunk=7), slice(None)),
        (problem.take(order), order),
        (problem.take(slice(2, 3)), [2]),
    ):
        again = explainer(other, RNG)
        assert_close(again.values, found.values[rows], rtol=1e-4, atol=1e-6)
        assert_close(again.total, found.total[rows], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("baseline", [BackgroundMean(), TrainingSample()])
def test_baselines_of_the_background_need_one(baseline):
    problem = dataclasses.replace(conv_problem(), background=torch.zeros(0, 3, 9, 11))
    for explainer in (IntegratedGradients(baseline=baseline), GuidedIntegratedGradients(baseline=baseline)):
        assert "background" in explainer.unsupported(problem)
        assert dataclasses.replace(explainer, baseline=Constant()).unsupported(problem) is None


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_baseline_is_an_image(value):
    with pytest.raises(ConfigurationError, match="value"):
        Constant(value)


def test_expected_gradients_use_every_background_image_equally_often():
    problem, weights = linear_problem((2, 3, 4))
    problem = with_background(problem)

    def check(explain: Explain) -> None:
        expected = weights * (problem.images - problem.background.mean(0))[:, None]
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-5)

    check(ExpectedGradients(samples=12))
    for mutant in (ExpectedGradients(samples=13), next_target(ExpectedGradients(samples=12)), negated(ExpectedGradients(samples=12))):
        rejects(check, mutant)


def test_expected_gradients_have_one_position_in_every_part_of_the_line():
    """From one black image the values of squares are w x^2 times twice the mean position: known but for 1 / samples^1.5."""
    problem, weights = quadratic_problem()
    images, samples = problem.images, 400
    shares = ExpectedGradients(samples=samples)(problem, RNG).values / (weights * images[:, None] ** 2)
    assert_close(shares, shares[:, :1, :1, :1, :1].expand_as(shares), rtol=1e-4, atol=0)
    error = shares[:, 0, 0, 0, 0] - 1
    assert 0 < error.abs().max() < 2 * 5 / (12**0.5 * samples**1.5)  # independent positions: 20 times as much
    assert error.unique().numel() == len(images)


def test_expected_gradients_are_unbiased_where_the_last_round_is_not_full():
    problem, weights = quadratic_problem()
    problem = with_background(problem)
    exact = weights * (problem.images**2 - problem.background.square().mean(0))[:, None]

    def check(explain: Explain) -> None:
        found = torch.stack([explain(problem, Rng(0, draw, "test")).values for draw in range(300)])
        deviations = (found.mean(0) - exact) / (found.std(0) / len(found) ** 0.5)
        assert deviations.abs().max() < 5
        assert 0.7 < deviations.std() < 1.4

    explainer = ExpectedGradients(samples=8)
    check(explainer)
    first = dataclasses.replace(problem, background=problem.background[:2])
    for mutant in (lambda _, rng: explainer(first, rng), next_target(explainer), IntegratedGradients(steps=8)):
        rejects(check, mutant)


class Form(nn.Module):
    """Logits that are quadratic forms of all input values."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.matrices = nn.Parameter(torch.randn(classes, size, size, generator=torch.Generator().manual_seed(3)).double())

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return torch.einsum("ni,kij,nj->nk", flat, self.matrices.to(flat), flat)


def form_problem() -> tuple[Problem, Tensor]:
    """Three quadratic forms of 2 x 3 x 4 inputs, in float64; and their symmetric matrices (K, 24, 24)."""
    problem, _ = linear_problem((2, 3, 4))
    model = frozen(Form(24, 3))
    return dataclasses.replace(problem, model=model, images=problem.images.double()), model.matrices + model.matrices.mT


def test_blur_integrated_gradients_are_the_integral_over_scales():
    problem, matrices = form_problem()
    scales = torch.linspace(0, 1, 401).double() ** 2 * 4
    path = torch.stack([problem.images if s == 0 else blur(problem.images, s.item()) for s in scales]).flatten(2)
    middle, change = (path[1:] + path[:-1]) / 2, path[:-1] - path[1:]
    expected = torch.einsum("snj,kij,sni->nki", middle, matrices, change).reshape(4, 3, 2, 3, 4)

    def check(explain: Explain) -> None:
        found = explain(problem, RNG)
        assert_close(found.values, expected, rtol=1e-3, atol=2e-3)
        assert_close(found.total, expected.sum((2, 3, 4)), rtol=1e-6, atol=1e-6)

    explainer = BlurIntegratedGradients(steps=100, max_sigma=4.0)
    check(explainer)
    straight = IntegratedGradients(baseline=Blurred(4.0))
    for mutant in (straight, BlurIntegratedGradients(steps=100, max_sigma=3.0), BlurIntegratedGradients(steps=2, max_sigma=4.0)):
        rejects(check, mutant)
    for mutant in (negated(explainer), next_target(explainer)):
        rejects(check, mutant)


@pytest.mark.parametrize("squares", [False, True])
def test_blur_integrated_gradients_where_inputs_do_not_interact(squares):
    problem, weights = quadratic_problem() if squares else linear_problem((2, 3, 4))
    power = 2 if squares else 1
    expected = weights * (problem.images.double() ** power - blur(problem.images, 50.0) ** power)[:, None]

    def check(explain: Explain) -> None:
        found = explain(problem, RNG)
        assert_close(found.values, expected.float(), rtol=1e-4, atol=1e-5)
        assert_close(found.total, expected.sum((2, 3, 4)).float(), rtol=1e-4, atol=1e-4)

    check(BlurIntegratedGradients(steps=1))
    check(BlurIntegratedGradients())
    for mutant in (BlurIntegratedGradients(max_sigma=0.5), negated(BlurIntegratedGradients()), Gradient(), IntegratedGradients()):
        rejects(check, mutant)


class Product(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        first, second = images.flatten(1).T
        return (first + first * second)[:, None]


def test_guided_integrated_gradients_by_hand():
    """f = a + a b has the gradient (1, 0) at (0, 0): b moves first, for nothing; then the gradient is (2, 0), and a gets all."""
    problem = make_problem(frozen(Product()), torch.ones(1, 1, 1, 2), torch.zeros(1, 1, dtype=torch.int64))

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values.flatten(), torch.tensor([2.0, 0.0]))

    check(GuidedIntegratedGradients(steps=2, fraction=0.0, max_distance=1.0))
    for mutant in (IntegratedGradients(), GuidedIntegratedGradients(steps=2, fraction=0.0, max_distance=0.1)):
        rejects(check, mutant)
    rejects(check, GuidedIntegratedGradients(steps=2, fraction=1.0, max_distance=1.0))


def test_guided_integrated_gradients_without_a_band_take_the_straight_line():
    problem, matrices = form_problem()
    flat = problem.images.flatten(1)
    expected = (flat[:, None] * torch.einsum("kij,nj->nki", matrices, flat) / 2).reshape(4, 3, 2, 3, 4)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-6, atol=1e-8)

    check(GuidedIntegratedGradients(steps=10, max_distance=0.0))
    check(GuidedIntegratedGradients(steps=10, fraction=1.0))
    rejects(check, GuidedIntegratedGradients(steps=10, max_distance=0.2))
    rejects(check, next_target(GuidedIntegratedGradients(steps=10, max_distance=0.0)))


def walked(slope: Callable[[np.ndarray], np.ndarray], image: np.ndarray, start: np.ndarray, steps: int, fraction: float, band: float):
    """One path, value by value, as the paper's algorithm moves them: those with the smallest gradients, until the distance is covered."""
    point, found = start.copy(), np.zeros_like(image)
    length = np.abs(image - start)
    for step in range(1, steps + 1):
        gradient, before = slope(point), point.copy()
        low, high = (start + (image - start) * min(max(step / steps + side, 0), 1) for side in (-band, band))
        for i in range(len(point)):
            if np.abs(point[i] - start[i]) < np.abs(low[i] - start[i]):
                point[i] = low[i]
        goal = length.sum() * (1 - step / steps)
        waiting = [i for i in range(len(point)) if np.abs(high[i] - point[i]) > 1e-12]
        while waiting and np.abs(image - point).sum() - goal > 1e-12:
            size = int(fraction * (len(point) - 1)) + 1
            last = sorted(np.abs(gradient[i]) for i in waiting)[min(size, len(waiting)) - 1]
            chosen = [i for i in waiting if np.abs(gradient[i]) <= last]
            reach = sum(np.abs(high[i] - point[i]) for i in chosen)
            share = min((np.abs(image - point).sum() - goal) / reach, 1)
            for i in chosen:
                point[i] += share * (high[i] - point[i])
            waiting = [i for i in waiting if i not in chosen]
        found += (gradient + slope(point)) / 2 * (point - before)
    return found


def test_guided_integrated_gradients_walk_the_papers_path():
    problem, matrices = form_problem()
    problem.images[0, 0] = 0.0
    symmetric, images = matrices.numpy(), problem.images.flatten(1).numpy()

    def check(explain: Explain, fraction: float = 0.25, band: float = 0.1) -> None:
        found = explain(problem, RNG).values.flatten(2)
        for row, image in enumerate(images):
            for number, matrix in enumerate(symmetric):
                expected = walked(lambda x, matrix=matrix: matrix @ x, image, np.full(24, 0.3), 20, fraction, band)
                assert_close(found[row, number].numpy(), expected, rtol=1e-6, atol=1e-8)

    settings = {"steps": 20, "baseline": Constant(0.3)}
    explainer = GuidedIntegratedGradients(max_distance=0.1, **settings)
    check(explainer)
    check(GuidedIntegratedGradients(fraction=0.1, max_distance=1.0, **settings), 0.1, 1.0)
    mutants = [{"fraction": 0.3, "max_distance": 0.1}, {"fraction": 0.25, "max_distance": 0.15}, {"max_distance": 0.0}]
    for mutant in (negated(explainer), next_target(explainer), *(GuidedIntegratedGradients(**settings, **other) for other in mutants)):
        rejects(check, mutant)


def smooth_problem() -> Problem:
    """A convolutional network without kinks, where sums tend to the integral."""
    problem = conv_problem(batch=3)
    model = nn.Sequential(*problem.classifier)
    model[1], model[2], model[6] = nn.Softplus(20), nn.AvgPool2d(2), nn.Softplus(20)
    model[3].activation = nn.Softplus(20)
    return dataclasses.replace(problem, model=frozen(model))


@pytest.mark.parametrize(
    "explainer",
    [BlurIntegratedGradients(), *(GuidedIntegratedGradients(max_distance=band) for band in (0.02, 0.5))],
    ids=repr,
)
def test_path_methods_add_up_on_a_convolutional_network(explainer):
    problem = smooth_problem()

    def check(explain: Explain) -> None:
        found = explain(problem, RNG)
        assert (found.values.sum((2, 3, 4)) - found.total).abs().max() < 0.005 * found.total.abs().max()

    check(explainer)
    fewer = dataclasses.replace(explainer, steps=2)
    for mutant in (negated(explainer), lambda problem, rng: Attributions(fewer(problem, rng).values, explainer(problem, rng).total)):
        rejects(check, mutant)
