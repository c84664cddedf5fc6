"""Occlusion, superpixel ablation, RISE and LIME against loops over windows, regions and masks; every check must reject mutants."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from explainer_cases import (
    RNG,
    Explain,
    all_classes,
    conv_problem,
    frozen,
    linear_problem,
    make_problem,
    negated,
    next_target,
    rejects,
    scaled,
)
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from xaibench.component import ConfigurationError
from xaibench.explainers import rise
from xaibench.explainers.lime import Lime
from xaibench.explainers.occlusion import Occlusion
from xaibench.explainers.rise import Rise
from xaibench.explainers.superpixel_ablation import SuperpixelAblation
from xaibench.problem import Explainer, Problem
from xaibench.removal import Blur, Constant, Marginal, Removal
from xaibench.superpixels import Pixels, Slic, Squares, Superpixels


def small_network(shape: tuple[int, int, int], batch: int = 2) -> Problem:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 6), nn.Tanh(), nn.Linear(6, 3))
    return make_problem(frozen(model), torch.rand(batch, *shape), all_classes(batch, 3), torch.rand(3, *shape))


def outputs(problem: Problem, images: Tensor, kept: Tensor, removal: Removal) -> Tensor:
    """(n, K) logits of images (n, C, H, W) without what is not kept (H, W), averaged over the removal's draws."""
    found = []
    for draw in range(removal.draws(problem)):
        mask = kept.expand(len(images), 1, *kept.shape)
        found.append(problem.classifier(removal(images, mask, problem, torch.full((len(images),), draw))))
    return torch.stack(found).mean(0)


def occlusion_by_loops(problem: Problem, patch: int, starts: tuple[list[int], list[int]], removal: Removal) -> Tensor:
    height, width = problem.images.shape[2:]
    summed, covered = torch.zeros(len(problem.images), 3, height, width), torch.zeros(height, width)
    for top, left in itertools.product(*starts):
        kept = torch.ones(height, width, dtype=torch.bool)
        kept[top : top + patch, left : left + patch] = False
        drop = problem.classifier(problem.images) - outputs(problem, problem.images, kept, removal)
        summed[:, :, top : top + patch, left : left + patch] += drop[:, :, None, None]
        covered[top : top + patch, left : left + patch] += 1
    assert covered.min() >= 1
    return (summed / covered)[:, :, None]


@pytest.mark.parametrize("removal", [Constant(0.4), Blur(), Marginal()], ids=repr)
def test_occlusion_averages_the_drops_of_the_windows_that_cover_a_pixel(removal):
    problem = small_network((2, 7, 8))
    expected = occlusion_by_loops(problem, 3, ([0, 2, 4], [0, 2, 4, 5]), removal)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    explainer = Occlusion(patch=3, stride=2, removal=removal)
    check(explainer)
    mutants = [dataclasses.replace(explainer, removal=Constant()), dataclasses.replace(explainer, stride=1)]
    for mutant in (*mutants, negated(explainer), next_target(explainer), scaled(explainer)):
        rejects(check, mutant)


def test_occlusion_by_a_window_larger_than_the_image_is_the_total_drop():
    problem, weights = linear_problem()
    expected = (problem.images[:, None] * weights).sum((2, 3, 4))
    found = Occlusion(patch=9, stride=4)(problem, RNG).values
    assert_close(found, expected[:, :, None, None, None].expand(-1, -1, 1, 3, 3), rtol=1e-4, atol=1e-6)


def test_occlusion_refuses_windows_that_leave_gaps():
    with pytest.raises(ConfigurationError, match="stride=3: expected at most patch=2"):
        Occlusion(patch=2, stride=3)


@pytest.mark.parametrize("explainer", [Occlusion(removal=Marginal()), SuperpixelAblation(removal=Marginal()), Lime(removal=Marginal())])
def test_a_removal_without_background_is_refused(explainer):
    problem = conv_problem()
    assert explainer.unsupported(problem) is None
    reason = explainer.unsupported(dataclasses.replace(problem, background=problem.background[:0]))
    assert reason == "Marginal needs background images, and there are none"


def ablation_by_loops(problem: Problem, superpixels: Superpixels, removal: Removal) -> Tensor:
    values = torch.zeros(len(problem.images), 3, 1, *problem.images.shape[2:])
    for row in range(len(problem.images)):
        image = problem.images[row : row + 1]
        regions = superpixels(image)[0]
        for region in regions.unique():
            without = outputs(problem, image, regions != region, removal)
            values[row, :, 0, regions == region] = (problem.classifier(image) - without)[0][:, None]
    return values


@pytest.mark.parametrize("superpixels", [Squares(side=3), Pixels(), Slic(regions=6)], ids=repr)
@pytest.mark.parametrize("removal", [Constant(0.3), Marginal(samples=2)], ids=repr)
def test_superpixel_ablation_is_the_drop_without_one_region(superpixels, removal):
    problem = small_network((1, 8, 9), batch=4)
    expected = ablation_by_loops(problem, superpixels, removal)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    explainer = SuperpixelAblation(superpixels=superpixels, removal=removal)
    check(explainer)
    mutants = [SuperpixelAblation(superpixels=superpixels), SuperpixelAblation(superpixels=Squares(side=2), removal=removal)]
    for mutant in (*mutants, negated(explainer), next_target(explainer), scaled(explainer)):
        rejects(check, mutant)


def rise_masks(explainer: Rise, height: int, width: int) -> Tensor:
    """(S, H, W): each grid enlarged as a whole by torch, and cut out at its place."""
    draws = RNG.shared()
    rows, columns = min(explainer.grid, height), min(explainer.grid, width)
    tall, wide = math.ceil(height / rows), math.ceil(width / columns)
    grids = (torch.rand(explainer.masks, rows, columns, generator=draws) < explainer.probability).float()
    tops = torch.randint(tall, (explainer.masks,), generator=draws)
    lefts = torch.randint(wide, (explainer.masks,), generator=draws)
    large = functional.interpolate(grids[:, None], ((rows + 1) * tall, (columns + 1) * wide), mode="bilinear", align_corners=False)
    return torch.stack([mask[0, top : top + height, left : left + width] for mask, top, left in zip(large, tops, lefts, strict=True)])


@pytest.mark.parametrize(("shape", "grid", "probability"), [((1, 8, 9), 3, 0.3), ((3, 12, 8), 4, 0.6), ((1, 8, 8), 20, 0.5)])
@pytest.mark.parametrize("block", [2**24, 700])
def test_rise_is_the_mean_of_masks_times_outputs_over_their_expectation(monkeypatch, shape, grid, probability, block):
    monkeypatch.setattr(rise, "MASK_VALUES", block)
    problem = small_network(shape)
    explainer = Rise(masks=60, grid=grid, probability=probability)
    expected = torch.zeros(2, 3, 1, *shape[1:])
    for mask in rise_masks(explainer, *shape[1:]):
        expected += problem.classifier(problem.images * mask)[:, :, None, None, None] * mask
    expected /= probability * 60

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    check(explainer)
    mutants = [dataclasses.replace(explainer, **change) for change in ({"masks": 61}, {"grid": 2}, {"probability": probability + 0.1})]
    for mutant in (*mutants, negated(explainer), next_target(explainer), scaled(explainer)):
        rejects(check, mutant)


@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_rise_of_a_constant_classifier_is_the_constant_wherever_the_pixel(probability):
    """So the expected mask is `probability` at every pixel, the borders included."""
    linear = nn.Linear(64, 2)
    linear.weight.data.zero_()
    linear.bias.data = torch.tensor([1.0, -2.0])
    problem = make_problem(frozen(nn.Sequential(nn.Flatten(), linear)), torch.rand(1, 1, 8, 8), all_classes(1, 2))

    def check(explain: Explain) -> None:
        values = explain(problem, RNG).values[0, :, 0]
        deviation = math.sqrt((1 - probability) / probability / 20_000)
        assert (values[0] - 1).abs().max() < 4.5 * deviation
        assert_close(values[1], -2 * values[0])

    explainer = Rise(masks=20_000, grid=3, probability=probability)
    check(explainer)
    for mutant in (scaled(explainer, 1.1), negated(explainer), next_target(explainer)):
        rejects(check, mutant)


def lime_by_scikit_learn(problem: Problem, explainer: Lime, output: str = "logit") -> Tensor:
    """Image by image, class by class."""
    values = torch.zeros(len(problem.images), 3, 1, *problem.images.shape[2:])
    for row in range(len(problem.images)):
        image = problem.images[row : row + 1]
        regions = explainer.superpixels(image)[0]
        present = torch.rand(explainer.samples, int(regions.max()) + 1, generator=RNG.shared()) < 0.5
        present[0] = True
        found = torch.cat([outputs(problem, image, coalition[regions], explainer.removal) for coalition in present])
        found = (found if output == "logit" else found.softmax(1)).double().numpy()
        design = present.double().numpy()
        cosine = design.sum(1) / np.maximum(np.sqrt(design.sum(1) * design.shape[1]), 1e-12)
        kernel = np.sqrt(np.exp(-((1 - cosine) ** 2) / explainer.width**2))
        for target in range(3):
            fitted = Ridge(alpha=explainer.ridge).fit(design, found[:, target], sample_weight=kernel)
            values[row, target, 0] = torch.from_numpy(fitted.coef_).float()[regions]
    return values


@pytest.mark.parametrize(
    "explainer",
    [
        Lime(samples=60, superpixels=Squares(side=3)),
        Lime(samples=90, superpixels=Slic(regions=6), width=0.4, ridge=0.1, removal=Constant(0.5)),
        Lime(samples=40, superpixels=Squares(side=4), removal=Marginal(samples=2)),
        Lime(samples=30, superpixels=Pixels()),
    ],
    ids=repr,
)
def test_lime_is_scikit_learns_ridge_regression(explainer):
    problem = small_network((1, 8, 9), batch=3)
    expected = lime_by_scikit_learn(problem, explainer)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    check(explainer)
    changes = [{"samples": explainer.samples + 1}, {"ridge": 2.0}, {"width": 0.2}, {"removal": Constant(0.9)}]
    mutants = [dataclasses.replace(explainer, **change) for change in changes]
    for mutant in (*mutants, negated(explainer), next_target(explainer), scaled(explainer)):
        rejects(check, mutant)


def test_lime_of_probabilities():
    problem = small_network((1, 8, 9), batch=1)
    explainer = Lime(samples=60, superpixels=Squares(side=3))
    expected = lime_by_scikit_learn(problem, explainer, "probability")

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    check(dataclasses.replace(explainer, output="probability"))
    rejects(check, explainer)


def test_lime_with_hardly_a_penalty_gives_a_linear_classifiers_weights_times_its_superpixels():
    problem, weights = linear_problem((2, 9, 8), batch=2)
    superpixels = Squares(side=3)
    regions = superpixels(problem.images)[0]
    products = (problem.images[:, None] * weights).sum(2)
    sums = torch.zeros(2, 3, 9).index_add_(2, regions.flatten(), products.flatten(2))

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values[:, :, 0], sums[:, :, regions], rtol=1e-3, atol=1e-5)

    explainer = Lime(samples=200, superpixels=superpixels, ridge=1e-6)
    check(explainer)
    for mutant in (Lime(samples=200, superpixels=superpixels), Lime(ridge=1e-6), negated(explainer), next_target(explainer)):
        rejects(check, mutant)


@pytest.mark.parametrize(
    "explainer", [Occlusion(), SuperpixelAblation(), Lime(samples=50), Rise(masks=50)], ids=lambda one: type(one).__name__
)
def test_all_targets_share_the_passes_and_chunks_are_full(explainer):
    problem = dataclasses.replace(conv_problem(), chunk=32)
    sizes: list[int] = []
    handle = problem.classifier.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    explainer(problem, RNG)
    handle.remove()
    assert set(sizes[:-1]) == {32}
    alone = dataclasses.replace(problem, targets=problem.targets[:, :1])
    assert sum(sizes) == explainer.passes(problem).forward == explainer.passes(alone).forward


class Mean(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None]


def largest_tensor(explainer: Explainer) -> int:
    """Bytes, in explaining one 224 x 224 image."""
    problem = make_problem(Mean(), torch.rand(1, 1, 224, 224), all_classes(1, 1), chunk=64)
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            found = function(*args, **(kwargs or {}))
            if isinstance(found, Tensor):
                largest = max(largest, found.untyped_storage().nbytes())
            return found

    with Watch():
        assert explainer(problem, RNG).values.shape == (1, 1, 1, 224, 224)
    return largest


@pytest.mark.parametrize("explainer", [Occlusion(patch=16, stride=4), Rise(masks=700), SuperpixelAblation(), Lime(samples=300)], ids=repr)
def test_memory_is_bounded_for_large_images(explainer):
    """Where masks of all windows would take 2^27 bytes as bool, and of 700 samples as many as float32."""
    assert largest_tensor(explainer) < 2**27 + 2**22


def test_the_bound_on_memory_would_be_broken_by_all_masks_at_once(monkeypatch):
    monkeypatch.setattr(rise, "MASK_VALUES", 2**26)
    assert largest_tensor(Rise(masks=700)) > 2**28
