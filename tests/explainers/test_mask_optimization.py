"""Optimized masks against closed forms on linear classifiers, and against plain loops over pairs; every check must reject mutants."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from explainer_cases import RNG, Explain, all_classes, conv_problem, frozen, linear_problem, make_problem, negated, next_target, rejects
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench.component import ConfigurationError
from xaibench.explainers.extremal_perturbation import ExtremalPerturbation
from xaibench.explainers.meaningful_perturbation import MeaningfulPerturbation
from xaibench.explainers.random import Random
from xaibench.explainers.raw_input import RawInput
from xaibench.problem import Explainer, Problem
from xaibench.removal import Blur, Constant, Marginal

PIXELWISE = {"grid": 99, "softness": 1e-3, "removal": Constant(), "output": "logit"}
"""The coarse mask is the mask."""


def relevant(problem: Problem, weights: Tensor) -> Tensor:
    """(B, K, H, W): what each pixel adds to a linear classifier's logit."""
    return (problem.images[:, None] * weights).sum(2)


def test_meaningful_perturbation_of_a_linear_classifier_deletes_the_pixels_worth_more_than_their_size():
    problem, weights = linear_problem((2, 5, 6))
    expected = (relevant(problem, weights) > 0.02)[:, :, None].float()
    clear = ((relevant(problem, weights) - 0.02).abs() > 0.005)[:, :, None]

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values[clear], expected[clear], rtol=0, atol=1e-3)

    explainer = MeaningfulPerturbation(size=0.02, roughness=0.0, **PIXELWISE)
    check(explainer)
    mutants = [dataclasses.replace(explainer, **change) for change in ({"size": 0.05}, {"roughness": 0.1}, {"removal": Constant(0.5)})]
    for mutant in (*mutants, negated(explainer), next_target(explainer)):
        rejects(check, mutant)


def test_extremal_perturbation_of_a_linear_classifier_keeps_the_pixels_that_add_most():
    problem, weights = linear_problem((2, 5, 6))
    worth = relevant(problem, weights).flatten(2)

    def check(explain: Explain) -> None:
        mask = explain(problem, RNG).values[:, :, 0].flatten(2)
        assert_close(mask.mean(2), torch.full((4, 3), 0.2), rtol=0, atol=0.03)
        best = worth.topk(6, dim=2).values.sum(2)
        kept = (mask * worth).sum(2)
        assert (kept > 0.7 * best).all()
        assert kept.mean() > 0.85 * best.mean()

    explainer = ExtremalPerturbation(areas=(0.2,), **PIXELWISE)
    check(explainer)
    mutants = [dataclasses.replace(explainer, areas=(0.3,)), dataclasses.replace(explainer, first_weight=1e4)]
    for mutant in (*mutants, negated(explainer), next_target(explainer)):
        rejects(check, mutant)


def test_a_constant_classifier_gives_nothing_to_delete():
    problem = conv_problem((1, 8, 8))
    problem.classifier[-1].weight.data.zero_()
    explainer = MeaningfulPerturbation(size=1e-3)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, torch.zeros(5, 3, 1, 8, 8), rtol=0, atol=1e-5)

    check(explainer)
    rejects(check, dataclasses.replace(explainer, iterations=5))
    rejects(check, dataclasses.replace(explainer, size=0.0))


class Patch(nn.Module):
    """Reads a square of 3 x 3 pixels; the first class wants it bright, the last one dark."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images[:, :, 2:5, 5:8].mean((1, 2, 3))
        return 8 * torch.stack([mean, 0 * mean, -mean], dim=1)


@pytest.mark.parametrize(
    "explainer",
    [
        MeaningfulPerturbation(removal=Constant(), size=1e-2),
        MeaningfulPerturbation(removal=Constant(), size=1e-2, grid=8, output="logit"),
        ExtremalPerturbation(removal=Constant(), areas=(0.075,), grid=12),
        ExtremalPerturbation(removal=Constant(), grid=12),
    ],
    ids=repr,
)
def test_the_mask_finds_the_patch_that_the_classifier_reads(explainer):
    torch.manual_seed(0)
    problem = make_problem(Patch(), 0.5 + 0.5 * torch.rand(3, 1, 10, 12), torch.tensor([[0, 2]] * 3))
    truth = torch.zeros(10, 12, dtype=torch.bool)
    truth[2:5, 5:8] = True

    def check(explain: Explain) -> None:
        for values in explain(problem, RNG).values[:, 0, 0]:
            largest = torch.zeros(120, dtype=torch.bool)
            largest[values.flatten().topk(9).indices] = True
            found = largest.reshape(10, 12)
            assert (found & truth).sum() / (found | truth).sum() >= 0.8

    check(explainer)
    for mutant in (negated(explainer), next_target(explainer), Random(), RawInput()):
        rejects(check, mutant)


def adam(loss: Callable[[Tensor, int], Tensor], start: Tensor, iterations: int, rate: float) -> Tensor:
    """Kingma and Ba 2015, algorithm 1, with clipping and a rate that falls to 0."""
    mask, first, second = start.double(), 0.0, 0.0
    for step in range(1, iterations + 1):
        point = mask.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(point, step - 1), point)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        scale = (second / (1 - 0.999**step)).sqrt() + 1e-5
        mask = (mask - rate * (1 - (step - 1) / iterations) * first / (1 - 0.9**step) / scale).clamp(0, 1)
    return mask


def smooth_problem() -> Problem:
    torch.manual_seed(6)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 6 * 8, 3))
    model[-1].weight.data *= 10
    return make_problem(frozen(model), torch.rand(2, 2, 8, 10), all_classes(2, 3))


def output_under(problem: Problem, explainer: Explainer, row: int, target: int, mask: Tensor) -> Tensor:
    image = problem.images[row : row + 1]
    removed = explainer.removal(image, torch.zeros(1, 1, 8, 10, dtype=torch.bool), problem).double()
    logits = problem.classifier(mask * image.double() + (1 - mask) * removed)[0]
    return logits[target] if explainer.output == "logit" else logits.softmax(0)[target]


def kernel(pixels: int, cells: int, shape: Callable[[float], float]) -> Tensor:
    """(pixels, cells): of the distance between the centers, in cells."""
    centers = [(pixel + 0.5) * cells / pixels for pixel in range(pixels)]
    return torch.tensor([[shape(abs(center - cell - 0.5)) for cell in range(cells)] for center in centers], dtype=torch.float64)


def over_pairs(problem: Problem, found: Callable[[int, int], Tensor]) -> Tensor:
    double = dataclasses.replace(problem, model=problem.classifier.double())
    values = torch.stack([torch.stack([found(row, target) for target in range(3)]) for row in range(2)])
    double.classifier.float()
    return values[:, :, None].float()


def meaningful_by_loops(problem: Problem, explainer: MeaningfulPerturbation) -> Tensor:
    rows, columns = (kernel(pixels, explainer.grid, lambda d: math.exp(-(d**2) / (2 * explainer.softness**2))) for pixels in (8, 10))
    weights = torch.einsum("ya,xb->yxab", rows, columns)
    weights /= weights.sum((2, 3), keepdim=True)

    def found(row: int, target: int) -> Tensor:
        def loss(coarse: Tensor, _step: int) -> Tensor:
            value = output_under(problem, explainer, row, target, (weights * coarse).sum((2, 3)))
            jumps = [coarse[1:] - coarse[:-1], coarse[:, 1:] - coarse[:, :-1]]
            rough = sum((jump.abs() ** explainer.exponent).sum() for jump in jumps)
            return value + explainer.size * (1 - coarse).abs().sum() + explainer.roughness * rough

        start = torch.zeros(explainer.grid, explainer.grid)
        return 1 - (weights * adam(loss, start, explainer.iterations, explainer.learning_rate)).sum((2, 3))

    return over_pairs(problem, found)


@pytest.mark.parametrize(
    "explainer",
    [
        MeaningfulPerturbation(iterations=12, grid=4, removal=Constant(0.3)),
        MeaningfulPerturbation(
            iterations=20, grid=5, output="logit", size=0.05, roughness=0.3, exponent=2.0, softness=0.9, learning_rate=0.05
        ),
    ],
    ids=repr,
)
def test_meaningful_perturbation_is_adam_on_its_objective(explainer):
    problem = smooth_problem()
    expected = meaningful_by_loops(problem, explainer)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-3, atol=1e-4)

    check(explainer)
    for change in ("size", "roughness", "exponent", "softness", "learning_rate"):
        rejects(check, dataclasses.replace(explainer, **{change: 1.5 * getattr(explainer, change)}))
    others = [{"iterations": 10}, {"grid": 6}, {"removal": Constant(0.6)}]
    for mutant in (*(dataclasses.replace(explainer, **change) for change in others), negated(explainer), next_target(explainer)):
        rejects(check, mutant)


def extremal_by_loops(problem: Problem, explainer: ExtremalPerturbation) -> Tensor:
    shape = lambda d: math.exp(-(max(0.0, d - 0.5) ** 2) / (2 * explainer.softness**2))  # noqa: E731
    rows, columns = (kernel(pixels, explainer.grid, shape) for pixels in (8, 10))

    def smooth(values: Tensor, dim: int) -> Tensor:
        powers = (20 * values).exp()
        return (values * powers).sum(dim) / powers.sum(dim)

    def render(coarse: Tensor) -> Tensor:
        columnwise = torch.stack([smooth(row[:, None] * coarse, 0) for row in rows])
        return torch.stack([smooth(column * columnwise, 1) for column in columns], dim=1)

    def found(row: int, target: int) -> Tensor:
        total = torch.zeros(8, 10, dtype=torch.float64)
        for area in explainer.areas:
            kept = round(area * 80)
            template = torch.cat([torch.zeros(80 - kept), torch.ones(kept)]).double()

            def loss(coarse: Tensor, step: int, template: Tensor = template) -> Tensor:
                mask = render(coarse)
                share = step / (explainer.iterations - 1)
                weight = math.exp((1 - share) * math.log(explainer.first_weight) + share * math.log(explainer.last_weight))
                excess = ((mask.flatten().sort().values - template) ** 2).mean()
                return weight * excess - output_under(problem, explainer, row, target, mask)

            start = torch.full((explainer.grid, explainer.grid), 0.5)
            total += render(adam(loss, start, explainer.iterations, explainer.learning_rate))
        return total

    return over_pairs(problem, found)


@pytest.mark.parametrize(
    "explainer",
    [
        ExtremalPerturbation(iterations=12, grid=4, areas=(0.1, 0.3), removal=Constant(0.3)),
        ExtremalPerturbation(iterations=15, grid=5, areas=(0.4,), softness=0.3, first_weight=2.0, last_weight=50.0, learning_rate=0.05),
    ],
    ids=repr,
)
def test_extremal_perturbation_is_adam_on_its_objective(explainer):
    problem = smooth_problem()
    expected = extremal_by_loops(problem, explainer)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-3, atol=1e-4)

    check(explainer)
    for change in ("softness", "first_weight", "last_weight", "learning_rate"):
        rejects(check, dataclasses.replace(explainer, **{change: 1.5 * getattr(explainer, change)}))
    others = [{"iterations": 10}, {"grid": 6}, {"areas": (0.2,)}, {"output": "probability"}, {"removal": Constant(0.6)}]
    for mutant in (*(dataclasses.replace(explainer, **change) for change in others), negated(explainer), next_target(explainer)):
        rejects(check, mutant)


def test_at_its_defaults_the_objective_falls_far_below_that_of_either_extreme():
    problem = smooth_problem()
    explainer = MeaningfulPerturbation(grid=99, softness=1e-3, removal=Blur(), size=1e-3)

    def objective(values: Tensor) -> Tensor:
        """(B, T), where the mask has a cell for each pixel."""
        found = torch.zeros(2, 3)
        for row in range(2):
            for target in range(3):
                mask = 1 - values[row, target, 0]
                jumps = (mask.diff(dim=0).abs() ** 3).sum() + (mask.diff(dim=1).abs() ** 3).sum()
                image = problem.images[row : row + 1]
                removed = explainer.removal(image, torch.zeros(1, 1, 8, 10, dtype=torch.bool), problem)
                probability = problem.classifier(mask * image + (1 - mask) * removed).softmax(1)[0, target]
                found[row, target] = probability + 1e-3 * (1 - mask).sum() + 1e-2 * jumps
        return found

    def check(explain: Explain) -> None:
        found = objective(explain(problem, RNG).values)
        nothing, everything = objective(torch.zeros(2, 3, 1, 8, 10)), objective(torch.ones(2, 3, 1, 8, 10))
        assert (found <= torch.minimum(nothing, everything) + 1e-4).all()
        assert found.mean() < 0.7 * torch.minimum(nothing, everything).mean()

    check(explainer)
    for mutant in (negated(explainer), next_target(explainer), dataclasses.replace(explainer, iterations=3)):
        rejects(check, mutant)


@pytest.mark.parametrize("explainer", [MeaningfulPerturbation(iterations=2), ExtremalPerturbation(iterations=2)], ids=repr)
def test_a_removal_of_several_draws_is_refused(explainer):
    problem = conv_problem()
    reason = dataclasses.replace(explainer, removal=Marginal(samples=2)).unsupported(problem)
    assert reason is not None
    assert "gives 2 versions of a removed pixel" in reason
    single = dataclasses.replace(explainer, removal=Marginal(samples=1))
    assert single.unsupported(problem) is None
    assert single(problem, RNG).values.isfinite().all()


def test_extremal_perturbation_refuses_no_areas():
    with pytest.raises(ConfigurationError, match="expected at least one fraction"):
        ExtremalPerturbation(areas=())
