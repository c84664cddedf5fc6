"""Shapley values and occlusion against brute force; every check must reject mutants of the explainer that passes it."""

import dataclasses
import itertools
import math

import pytest
import torch
from explainer_cases import RNG, Explain, all_classes, frozen, linear_problem, make_problem, negated, next_target, rejects
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench.component import ConfigurationError
from xaibench.explainers.kernel_shap import KernelShap
from xaibench.explainers.occlusion import Occlusion
from xaibench.problem import Problem

# shap's plots, imported with it, call functions that matplotlib 3.11 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:The set_(bad|over|under) function:PendingDeprecationWarning")


def small_network(side: int) -> Problem:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * side * side, 9), nn.Tanh(), nn.Linear(9, 3))
    return make_problem(frozen(model), torch.rand(3, 2, side, side), all_classes(3, 3))


def shapley_by_definition(problem: Problem, regions: list[tuple[slice, slice]], baseline: float, output: str) -> Tensor:
    """(B, K, 1, H, W), from the weighted sum over all coalitions of the others."""
    worth = {}
    for present in itertools.product([False, True], repeat=len(regions)):
        images = torch.full_like(problem.images, baseline)
        for keep, (rows, columns) in zip(present, regions, strict=True):
            if keep:
                images[:, :, rows, columns] = problem.images[:, :, rows, columns]
        logits = problem.classifier(images).double()
        worth[present] = logits if output == "logit" else logits.softmax(1)
    values = torch.zeros(len(problem.images), 3, 1, *problem.images.shape[2:])
    for player, (rows, columns) in enumerate(regions):
        total = torch.zeros_like(logits)
        for present in worth:
            if present[player]:
                continue
            size = sum(present)
            weight = math.factorial(size) * math.factorial(len(regions) - size - 1) / math.factorial(len(regions))
            total += weight * (worth[(*present[:player], True, *present[player + 1 :])] - worth[present])
        pixels = values[0, 0, 0, rows, columns].numel()
        values[:, :, 0, rows, columns] = (total / pixels).float()[:, :, None, None]
    return values


@pytest.mark.parametrize(("side", "patch"), [(4, 2), (5, 3)])
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_kernel_shap_gives_exact_shapley_values_of_four_superpixels(side, patch, output):
    problem = small_network(side)
    first, second = slice(0, patch), slice(patch, side)
    expected = shapley_by_definition(problem, [(first, first), (first, second), (second, first), (second, second)], 0.3, output)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    explainer = KernelShap(patch=patch, baseline=0.3, output=output)
    check(explainer)
    other = "probability" if output == "logit" else "logit"
    for mutant in (KernelShap(patch=patch, output=output), KernelShap(patch=patch, baseline=0.3, output=other), next_target(explainer)):
        rejects(check, mutant)


def test_kernel_shap_of_one_and_two_superpixels():
    problem = small_network(4)
    whole = KernelShap(patch=5)(problem, RNG)
    assert_close(whole.values, (whole.total / 16)[:, :, None, None, None].expand(-1, -1, 1, 4, 4))
    wide = dataclasses.replace(problem, images=problem.images[:, :, :2].reshape(3, 2, 2, 4), model=frozen(two_pixels()))
    expected = shapley_by_definition(wide, [(slice(0, 2), slice(0, 2)), (slice(0, 2), slice(2, 4))], 0.0, "logit")
    assert_close(KernelShap(patch=2)(wide, RNG).values, expected, rtol=1e-4, atol=1e-6)


def two_pixels() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3))


@pytest.mark.parametrize(("patch", "superpixels", "fewest"), [(14, 9, 44), (10, 16, 100), (8, 25, 182)])
def test_kernel_shap_refuses_too_few_coalitions_and_is_exact_on_a_linear_classifier_from_there_on(patch, superpixels, fewest):
    problem, weights = linear_problem((1, 40, 40), classes=2, batch=3)
    reason = KernelShap(patch=patch, samples=fewest - 1).unsupported(problem)
    assert reason is not None
    assert f"{superpixels} superpixels need at least {fewest} coalitions" in reason
    explainer = KernelShap(patch=patch, samples=fewest)
    assert explainer.unsupported(problem) is None
    products = problem.images[:, None] * weights
    expected = products.clone()
    for top, left in itertools.product(range(0, 40, patch), repeat=2):
        square = (..., slice(top, top + patch), slice(left, left + patch))
        expected[square] = products[square].mean((-2, -1), keepdim=True)
    assert_close(explainer(problem, RNG).values, expected, rtol=1e-3, atol=1e-6)


def occlusion_by_loops(problem: Problem, patch: int, starts: tuple[list[int], list[int]], baseline: float) -> Tensor:
    height, width = problem.images.shape[2:]
    summed, covered = torch.zeros(len(problem.images), 3, height, width), torch.zeros(height, width)
    for top, left in itertools.product(*starts):
        hidden = problem.images.clone()
        hidden[:, :, top : top + patch, left : left + patch] = baseline
        drop = problem.classifier(problem.images) - problem.classifier(hidden)
        summed[:, :, top : top + patch, left : left + patch] += drop[:, :, None, None]
        covered[top : top + patch, left : left + patch] += 1
    assert covered.min() >= 1
    return (summed / covered)[:, :, None]


def test_occlusion_averages_the_drops_of_the_windows_that_cover_a_pixel():
    torch.manual_seed(4)
    model = frozen(nn.Sequential(nn.Flatten(), nn.Linear(2 * 7 * 8, 6), nn.Tanh(), nn.Linear(6, 3)))
    problem = make_problem(model, torch.rand(2, 2, 7, 8), all_classes(2, 3))
    expected = occlusion_by_loops(problem, 3, ([0, 2, 4], [0, 2, 4, 5]), 0.4)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    explainer = Occlusion(patch=3, stride=2, baseline=0.4)
    check(explainer)
    mutants = [Occlusion(patch=3, stride=2), Occlusion(patch=3, stride=1, baseline=0.4), negated(explainer), next_target(explainer)]
    for mutant in mutants:
        rejects(check, mutant)


def test_occlusion_by_a_window_larger_than_the_image_is_the_total_drop():
    problem, weights = linear_problem()
    expected = (problem.images[:, None] * weights).sum((2, 3, 4))
    found = Occlusion(patch=9, stride=4)(problem, RNG).values
    assert_close(found, expected[:, :, None, None, None].expand(-1, -1, 1, 3, 3), rtol=1e-4, atol=1e-6)


def test_occlusion_refuses_windows_that_leave_gaps():
    with pytest.raises(ConfigurationError, match="stride=3: expected at most patch=2"):
        Occlusion(patch=2, stride=3)
