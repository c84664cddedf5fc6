"""The randomization metrics against scipy, scikit-image and plain loops that initialize layers by hand."""

import copy
import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch
from ranking_cases import RNG, make_problem, random_attributions
from reexplanation_cases import copies_of, explanation, loop_gradient, spied, state, unchanged
from torch import nn

from xaibench import cost
from xaibench.explainers.constant import Constant
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.explainers.sobel import Sobel
from xaibench.metrics import randomization
from xaibench.metrics.correlations import mean_ranks
from xaibench.metrics.efficient_mprt import EfficientMprt
from xaibench.metrics.mprt import Mprt
from xaibench.metrics.random_logit import RandomLogit
from xaibench.metrics.similarity import scaled, standardized, structural_similarity
from xaibench.metrics.smooth_mprt import SmoothMprt
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.models.resnet import Resnet
from xaibench.problem import Attributions
from xaibench.seeding import Rng

ALL = [Mprt(), SmoothMprt(samples=3), EfficientMprt(), RandomLogit()]
ORDERS = ["top_down", "bottom_up", "independent"]


def named(metrics):
    return pytest.mark.parametrize("metric", metrics, ids=lambda metric: type(metric).__name__)


def layered_problem(batch=3, channels=2, targets=2, size=9):
    """Conv - batch norm - ReLU - conv - ReLU - dense, its second convolution inside a block."""
    torch.manual_seed(1)
    block = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    model = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), block, nn.Flatten(), nn.Linear(4 * (size - 4) ** 2, 4))
    model[1].running_mean.uniform_(-0.5, 0.5)
    model[1].weight.data.uniform_(0.5, 2)
    return make_problem(model, batch=batch, channels=channels, size=size, targets=targets)


GROUPS = [["0", "1"], ["3.0"], ["5"]]
NAMES = ["layer_1_0", "layer_2_3_0", "layer_3_5"]


def scores(metric, problem, explainer, rng=RNG):
    return metric(problem, explanation(problem, explainer), rng).values


# --- similarities


def tied_maps(seed=0, batch=3, targets=2, size=11):
    draw = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, batch, targets, size, size + 2, generator=draw, dtype=torch.float64).mul(2).round().unbind(0)
    return one, other + one


SCIPY = {False: scipy.stats.pearsonr, True: scipy.stats.spearmanr}


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_correlations_are_scipys(ranked, inside):
    one, other = tied_maps()
    counted = torch.rand(3, 1, 11, 13, generator=torch.Generator().manual_seed(1)) > 0.6 if inside else None
    found = (standardized(one, counted, ranked) * standardized(other, counted, ranked)).sum(2)
    for b in range(3):
        for t in range(2):
            keep = counted[b, 0] if inside else torch.ones(11, 13, dtype=torch.bool)
            pair = one[b, t][keep].numpy(), other[b, t][keep].numpy()
            assert found[b, t].item() == pytest.approx(SCIPY[ranked](*pair)[0], rel=1e-12)
            assert abs(found[b, t].item() - SCIPY[not ranked](*pair)[0]) > 1e-4
            if inside:
                assert abs(found[b, t].item() - SCIPY[ranked](one[b, t].flatten(), other[b, t].flatten())[0]) > 1e-4


def test_ranks_are_scipys_and_ties_matter():
    values = tied_maps()[0].flatten(2)
    assert mean_ranks(values).equal(torch.from_numpy(scipy.stats.rankdata(values.numpy(), axis=2) - 1))
    assert not mean_ranks(values).equal(torch.from_numpy(scipy.stats.rankdata(values.numpy(), method="min", axis=2) - 1.0))


def loop_ssim(one, other, span):
    """Wang et al. 2004, eq. 13, at every window; (H - 6, W - 6)."""
    one, other = one.numpy() / np.abs(one.numpy()).max(), other.numpy() / np.abs(other.numpy()).max()
    first, second = (0.01 * span) ** 2, (0.03 * span) ** 2
    found = np.zeros((one.shape[0] - 6, one.shape[1] - 6))
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            x, y = (values[row : row + 7, column : column + 7].flatten() for values in (one, other))
            (xx, xy), (_, yy) = np.cov(x, y)
            mean = (2 * x.mean() * y.mean() + first) / (x.mean() ** 2 + y.mean() ** 2 + first)
            found[row, column] = mean * (2 * xy + second) / (xx + yy + second)
    return found


@pytest.mark.parametrize("span", [1.0, 2.0])
def test_structural_similarity_is_the_mean_over_windows(span):
    one, other = (values.abs() if span == 1.0 else values for values in tied_maps())
    counted = torch.rand(3, 1, 11, 13, generator=torch.Generator().manual_seed(1)) > 0.6
    everywhere, inside = (structural_similarity(scaled(one), scaled(other), span, where) for where in (None, counted))
    for b in range(3):
        for t in range(2):
            windows = loop_ssim(one[b, t], other[b, t], span)
            assert everywhere[b, t].item() == pytest.approx(windows.mean(), rel=1e-9)
            assert inside[b, t].item() == pytest.approx(windows[counted[b, 0, 3:-3, 3:-3].numpy()].mean(), rel=1e-9)
            assert abs(everywhere[b, t].item() - loop_ssim(one[b, t], other[b, t], 3 - span).mean()) > 1e-5
            assert abs(everywhere[b, t].item() - loop_ssim(one[b, t], other[b, 1 - t], span).mean()) > 1e-3


def test_structural_similarity_is_scikit_images():
    metrics = pytest.importorskip("skimage.metrics")
    one, other = tied_maps()
    found = structural_similarity(scaled(one), scaled(other), 2.0)
    for b in range(3):
        for t in range(2):
            pair = [(values[b, t] / values[b, t].abs().max()).numpy() for values in (one, other)]
            assert found[b, t].item() == pytest.approx(metrics.structural_similarity(*pair, data_range=2.0), rel=1e-9)


@pytest.mark.parametrize("kind", ["pearson", "spearman", "ssim"])
def test_equal_maps_have_similarity_one_and_constant_ones_none(kind):
    metric, problem = Mprt(similarity=kind, absolute=False, inside=True), layered_problem(batch=4, size=9)
    problem.images[:, :, 2:4] = 0.0
    maps = random_attributions(problem).values

    def compared(one, other):
        return metric.compared(problem, metric.prepared(problem, one), metric.prepared(problem, other))

    torch.testing.assert_close(compared(maps, maps * 3), torch.ones(4, 2, dtype=torch.float64))
    assert (compared(maps, -maps) < (0.95 if kind == "ssim" else -0.999)).all()
    broken = maps.clone()
    broken[0, 0], broken[1, 1], broken[2, 0, 1, 2, 3], broken[3, 1, 0, 0, 0] = 0.1, 0.0, torch.nan, torch.inf
    for pair in ((maps, broken), (broken, maps)):
        assert compared(*pair).isnan().nonzero().tolist() == [[0, 0], [1, 1], [2, 0], [3, 1]]


# --- MPRT


def randomized_by_hand(problem, metric, seeds, step):
    """The classifier with the layers of a step initialized from their seeds."""
    model = copy.deepcopy(problem.model)
    chosen = {"top_down": range(step, 3), "bottom_up": range(step + 1), "independent": [step]}[metric.order]
    for layer in chosen:
        torch.manual_seed(seeds[layer])
        for name in GROUPS[layer]:
            model.get_submodule(name).reset_parameters()
    return model


def pooled(values, absolute=True):
    values = values.double().sum(0)
    return values.abs() if absolute else values


def check_mprt(metric, rng=RNG, explain=loop_gradient, absolute=True, similarity=scipy.stats.spearmanr):
    """Maps by plain loops; `explain` takes (model, image, target)."""
    problem = layered_problem()
    found = scores(metric, problem, Gradient(), rng)
    assert list(found) == ["value", *NAMES]
    drawn = torch.randint(2**31, (metric.randomizations, 3), generator=rng.shared()).tolist()
    for b, image in enumerate(problem.images):
        for t, target in enumerate(problem.targets[b].tolist()):
            before, means = pooled(explain(problem.model, image, target), absolute).flatten(), []
            for step, name in enumerate(NAMES):
                models = [randomized_by_hand(problem, metric, seeds, step) for seeds in drawn]
                after = [pooled(explain(model, image, target), absolute).flatten() for model in models]
                means.append(np.mean([similarity(before, values)[0] for values in after]))
                assert found[name][b, t].item() == pytest.approx(means[-1], abs=1e-5)
            assert found["value"][b, t].item() == pytest.approx(np.mean(means), abs=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_mprt_equals_loops_that_initialize_layers_by_hand(order):
    check_mprt(Mprt(order=order))


def test_mprt_equals_loops_for_signed_maps_other_similarities_and_several_draws():
    check_mprt(Mprt(absolute=False, randomizations=3), absolute=False)
    check_mprt(Mprt(similarity="pearson", order="independent"), similarity=scipy.stats.pearsonr)
    check_mprt(Mprt(similarity="ssim"), similarity=lambda one, other: [loop_ssim(*(v.reshape(9, 9) for v in (one, other)), 1.0).mean()])


@pytest.mark.parametrize(
    ("metric", "settings"),
    [
        (Mprt(absolute=False), {}),
        (Mprt(pooling="max"), {}),
        (Mprt(similarity="pearson"), {}),
        (Mprt(inside=True, similarity="ssim"), {}),
        (Mprt(), {"similarity": scipy.stats.pearsonr}),
        (Mprt(), {"explain": lambda model, image, target: loop_gradient(model, image, (target + 1) % 4)}),
        (Mprt(), {"explain": lambda model, image, target: image * loop_gradient(model, image, target)}),
    ],
)
def test_loops_reject_other_settings(metric, settings):
    with pytest.raises(AssertionError):
        check_mprt(metric, **settings)


FAULTS = {
    "nothing is randomized": lambda model, chosen: copy.deepcopy(model),
    "a layer is left out": lambda model, chosen: RANDOMIZED(model, list(chosen)[1:]),
    "normalization is left out": lambda model, chosen: RANDOMIZED(
        model, [(dataclasses.replace(layer, modules=layer.modules[:1]), seed) for layer, seed in chosen]
    ),
    "other seeds": lambda model, chosen: RANDOMIZED(model, [(layer, seed + 1) for layer, seed in chosen]),
}
RANDOMIZED = randomization.randomized


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("order", ORDERS)
def test_loops_reject_mutants(fault, order, monkeypatch):
    monkeypatch.setattr(randomization, "randomized", FAULTS[fault])
    with pytest.raises(AssertionError):
        check_mprt(Mprt(order=order))


def asked_models(metric, problem):
    given, seen = spied(problem, Gradient())
    metric(problem, given, RNG)
    return [asked.classifier for asked in seen]


def changed_layers(problem, model):
    own, other = problem.model.state_dict(), model.state_dict()
    moved = {name.rpartition(".")[0] for name in own if not torch.equal(own[name], other[name])}
    return [step for step, group in enumerate(GROUPS) if moved & set(group)]


def test_the_orders_randomize_what_their_names_say():
    problem = layered_problem()
    changed = {order: [changed_layers(problem, model) for model in asked_models(Mprt(order=order), problem)] for order in ORDERS}
    assert changed["top_down"] == [[0, 1, 2], [1, 2], [2]]
    assert changed["bottom_up"] == [[0], [0, 1], [0, 1, 2]]
    assert changed["independent"] == [[0], [1], [2]]


def test_all_layers_random_is_the_same_classifier_in_either_order():
    problem = layered_problem()
    top_down, bottom_up, independent = (asked_models(Mprt(order=order), problem) for order in ORDERS)
    for one, other in ((top_down[0], bottom_up[-1]), (top_down[-1], independent[-1]), (bottom_up[0], independent[0])):
        assert all(torch.equal(*pair) for pair in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert torch.equal(
        scores(Mprt(order="top_down"), problem, Gradient())[NAMES[0]], scores(Mprt(order="bottom_up"), problem, Gradient())[NAMES[-1]]
    )
    assert bottom_up[0][1].running_mean.abs().max() == 0
    assert torch.equal(bottom_up[0][1].running_var, torch.ones(4))


def test_parameters_depend_on_seed_draw_and_repetition():
    problem = layered_problem()
    runs = [scores(Mprt(), problem, Gradient(), rng)["value"] for rng in (RNG, Rng(4, 0, "test"), Rng(3, 1, "test"))]
    assert all((one - other).abs().max() > 0.01 for one, other in pairwise(runs))
    assert torch.equal(runs[0], scores(Mprt(), problem, Gradient())["value"])
    several = asked_models(Mprt(randomizations=4), problem)
    assert len({model.get_submodule("5").weight.sum().item() for model in several}) == 4


def test_inside_compares_only_pixels_that_are_not_zero():
    """Input x gradient is 0 where the image is: it stays alike there, whatever the classifier."""
    problem = layered_problem(batch=6)
    problem.images[:, :, :6] = 0.0
    everywhere, inside = (scores(Mprt(inside=value), problem, InputXGradient())["value"] for value in (False, True))
    assert (everywhere > inside).all()
    assert everywhere.mean() > 0.5 > inside.mean()


def test_layers_are_named_in_the_order_in_which_images_pass_them():
    with torch.random.fork_rng():
        model = Conv10Conv20Dense50().build((1, 28, 28), 10)
        problem = make_problem(model, channels=1, size=28, classes=10)
        assert [layer.name for layer in randomization.layers(problem)] == ["layer_1_0", "layer_2_3", "layer_3_8", "layer_4_11"]
        residual = randomization.layers(make_problem(Resnet().build((3, 8, 8), 4), size=8))
    assert residual[0].modules == ("0", "1")
    assert [layer.modules for layer in residual[1:3]] == [("3.residual.0", "3.residual.1"), ("3.residual.3", "3.residual.4")]
    assert residual[-1].name == f"layer_{len(residual)}_{residual[-1].modules[0]}"
    backwards = Backwards()
    assert [layer.modules for layer in randomization.layers(make_problem(backwards, channels=1, size=8))] == [("first",), ("last",)]


class Backwards(nn.Module):
    """Its layers are written down last to first."""

    def __init__(self, unused=False, scale=False):
        super().__init__()
        self.last, self.first = nn.Linear(4, 4), nn.Linear(64, 4)
        if unused:
            self.unused = nn.Linear(2, 2)
        if scale:
            self.scale = nn.Parameter(torch.ones(4))

    def forward(self, images):
        return self.last(self.first(images.flatten(1)).relu())


@named([Mprt(), SmoothMprt(), EfficientMprt()])
def test_what_cannot_be_randomized_is_refused(metric):
    def reason(model):
        return metric.unsupported(make_problem(model, channels=1, size=8), Gradient())

    assert reason(Backwards()) is None
    assert "'unused' has parameters and is not called" in reason(Backwards(unused=True))
    assert "'Backwards' has parameters and no reset_parameters()" in reason(Backwards(scale=True))
    assert reason(nn.Flatten()) == "the classifier has no parameters"
    with pytest.raises(ValueError, match="is not called"):
        scores(metric, make_problem(Backwards(unused=True), channels=1, size=8), Gradient())


def test_structural_similarity_needs_seven_pixels():
    problem = layered_problem(size=6)
    assert "7x7" in RandomLogit().unsupported(problem, Gradient())
    assert RandomLogit(similarity="pearson").unsupported(problem, Gradient()) is None
    assert RandomLogit().unsupported(layered_problem(size=7), Gradient()) is None


# --- smooth MPRT


def check_smooth(metric, mean=lambda maps: sum(maps) / len(maps)):
    problem = layered_problem(batch=2)
    problem.images[0] *= 0.5
    given, seen = spied(problem, Gradient())
    found = metric(problem, given, RNG).values
    drawn = torch.randint(2**31, (1, 3), generator=RNG.shared()).tolist()[0]
    for b in range(2):
        copies = copies_of(problem, seen[:1], b)
        assert len(copies) == metric.samples
        for t, target in enumerate(problem.targets[b].tolist()):
            models = [problem.model, *(randomized_by_hand(problem, metric, drawn, step) for step in range(3))]
            maps = [pooled(mean([loop_gradient(model, image, target) for image in copies])).flatten() for model in models]
            for name, after in zip(NAMES, maps[1:], strict=True):
                assert found[name][b, t].item() == pytest.approx(scipy.stats.spearmanr(maps[0], after)[0], abs=1e-4)


def test_smooth_mprt_equals_loops():
    check_smooth(SmoothMprt(samples=5, noise=0.2))


@pytest.mark.parametrize("mean", [lambda maps: maps[0], lambda maps: sum(maps[1:]), lambda maps: sum(value.abs() for value in maps)])
def test_smooth_loops_reject_mutants(mean):
    with pytest.raises(AssertionError):
        check_smooth(SmoothMprt(samples=5, noise=0.2), mean)


def test_smooth_noise_is_relative_to_the_images_range_and_the_same_for_all_classifiers():
    problem = layered_problem(batch=2)
    problem.images[0] *= 0.5
    given, seen = spied(problem, Constant())
    SmoothMprt(samples=100, noise=0.2)(problem, given, RNG)
    assert len(seen) == 4
    assert all(torch.equal(asked.images, seen[0].images) for asked in seen)
    for b, image in enumerate(problem.images):
        noise = torch.stack(copies_of(problem, seen[:1], b)) - image
        assert noise.std().item() == pytest.approx(0.2 * (image.max() - image.min()).item(), rel=0.03)


def test_smoothing_makes_noisy_maps_more_alike():
    """Maps that are the same for all classifiers, but for noise."""
    problem = layered_problem(batch=3)
    pattern = random_attributions(problem, seed=1).values[:1]

    draw = torch.Generator().manual_seed(0)

    def again(asked):
        return Attributions(pattern + 2 * torch.randn(len(asked.images), 2, 2, 9, 9, generator=draw))

    given = Attributions(again(problem).values, None, again)
    one, many = (SmoothMprt(samples=samples, absolute=False)(problem, given, RNG).values["value"] for samples in (1, 50))
    assert (many > 0.7).all()
    assert (one < 0.5).all()


# --- efficient MPRT


def check_efficient(metric, bins=100, absolute=True):
    problem = layered_problem()
    found = scores(metric, problem, Gradient())
    drawn = torch.randint(2**31, (metric.randomizations, 3), generator=RNG.shared()).tolist()
    models = [problem.model, *(randomized_by_hand(problem, Mprt(), seeds, 0) for seeds in drawn)]

    def entropy(model, image, target):
        values = pooled(loop_gradient(model, image, target), absolute).numpy()
        return scipy.stats.entropy(np.histogram(values, bins=bins)[0])

    for b, image in enumerate(problem.images):
        for t, target in enumerate(problem.targets[b].tolist()):
            before, *after = (entropy(model, image, target) for model in models)
            assert found["entropy"][b, t].item() == pytest.approx(before, rel=1e-5)
            assert found["randomized_entropy"][b, t].item() == pytest.approx(np.mean(after), rel=1e-5)
            assert found["value"][b, t].item() == pytest.approx((np.mean(after) - before) / before, abs=1e-5)


def test_efficient_mprt_is_the_relative_rise_of_the_histograms_entropy():
    check_efficient(EfficientMprt())
    check_efficient(EfficientMprt(bins=7, absolute=False, randomizations=2), bins=7, absolute=False)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "a layer is left out"])
def test_efficient_loops_reject_mutants(fault, monkeypatch):
    monkeypatch.setattr("xaibench.metrics.efficient_mprt.randomized", FAULTS[fault])
    with pytest.raises(AssertionError):
        check_efficient(EfficientMprt())


@pytest.mark.parametrize("metric", [EfficientMprt(bins=99), EfficientMprt(absolute=False), EfficientMprt(pooling="max")])
def test_efficient_loops_reject_other_settings(metric):
    with pytest.raises(AssertionError):
        check_efficient(metric)


# --- random logit


def test_random_logit_compares_with_another_class():
    problem = layered_problem(batch=3)
    given, seen = spied(problem, Gradient())
    found = RandomLogit()(problem, given, RNG).values["value"]
    others = seen[0].targets
    assert (others != problem.targets).all()
    for b, image in enumerate(problem.images):
        for t in range(2):
            maps = [pooled(loop_gradient(problem.model, image, int(targets[b, t])), False) for targets in (problem.targets, others)]
            assert found[b, t].item() == pytest.approx(loop_ssim(*maps, 2.0).mean(), abs=1e-5)
            wrong = pooled(loop_gradient(problem.model, image, int(others[b, t] + 1) % 4), False)
            assert abs(found[b, t].item() - loop_ssim(maps[0], wrong, 2.0).mean()) > 1e-3


def test_the_other_class_is_uniform_and_the_images_and_targets_own():
    problem = layered_problem(batch=1).take(torch.zeros(900, dtype=torch.int64))
    problem = dataclasses.replace(problem, index=torch.arange(900), targets=torch.tensor([[2, 0]]).repeat(900, 1))
    given, seen = spied(problem, Constant())
    RandomLogit()(problem, given, RNG)
    others = seen[0].targets
    for column, target in ((0, 2), (1, 0)):
        counts = torch.bincount(others[:, column], minlength=4).tolist()
        assert counts[target] == 0
        assert all(240 < count < 360 for k, count in enumerate(counts) if k != target)
    alone = problem.take(torch.tensor([7, 3]))
    given, seen = spied(dataclasses.replace(alone, targets=alone.targets.flip(1)), Constant())
    RandomLogit()(dataclasses.replace(alone, targets=alone.targets.flip(1)), given, RNG)
    assert torch.equal(seen[0].targets, others[[7, 3]].flip(1))


def test_a_single_class_has_no_other():
    problem = make_problem(nn.Sequential(nn.Flatten(), nn.Linear(81, 1)), channels=1, size=9, targets=1, classes=1)
    assert scores(RandomLogit(), problem, Gradient())["value"].isnan().all()


# --- all of them


@named([*ALL, *(Mprt(similarity=kind, order=order) for kind in ("pearson", "ssim") for order in ORDERS)])
def test_a_control_that_ignores_the_classifier_stays_as_it_is(metric):
    found = scores(dataclasses.replace(metric, absolute=False), layered_problem(), Sobel())
    value = 0.0 if isinstance(metric, EfficientMprt) else 1.0
    if isinstance(metric, EfficientMprt):
        found = {"value": found["value"]}
    for name in found:
        torch.testing.assert_close(found[name], torch.full((3, 2), value), rtol=1e-5, atol=1e-6)
    assert (scores(metric, layered_problem(), Gradient())["value"] - value).abs().min() > 1e-3


@named(ALL)
def test_nan_and_constant_maps_have_no_score_and_leave_the_others_alone(metric):
    problem = layered_problem()
    clean = explanation(problem, Gradient())
    broken = dataclasses.replace(clean, values=clean.values.clone())
    broken.values[0, 1, 0, 3, 3], broken.values[2, 0] = torch.nan, 0.1
    expected, found = (metric(problem, given, RNG).values["value"] for given in (clean, broken))
    none = [[0, 1]] if isinstance(metric, SmoothMprt) else [[0, 1], [2, 0]]  # whose maps are the mean ones
    assert found.isnan().nonzero().tolist() == none
    assert torch.equal(found[found.isfinite()], expected[found.isfinite()])


@named(ALL)
@pytest.mark.parametrize("explainer", [Gradient(), GradCam(), Smoothgrad(samples=3)], ids=lambda explainer: type(explainer).__name__)
@pytest.mark.parametrize("several", [False, True])
def test_passes_are_as_declared_and_the_classifier_stays_as_it_is(metric, explainer, several):
    metric = dataclasses.replace(metric, randomizations=2) if several and hasattr(metric, "randomizations") else metric
    problem = layered_problem()
    given, before = explanation(problem, explainer), state(problem.model)
    with cost.measure(problem.model) as counted:
        counting = state(problem.model)
        metric(problem, given, RNG)
        assert unchanged(counting, state(problem.model))
    assert counted.passes == metric.passes(problem, explainer)
    assert unchanged(before, state(problem.model))


@named(ALL)
def test_scores_do_not_depend_on_batch_or_order(metric):
    problem = layered_problem(batch=4)
    whole = scores(metric, problem, Gradient())
    rows = torch.tensor([3, 0])
    part = scores(metric, dataclasses.replace(problem.take(rows), chunk=1), Gradient())
    for name, value in part.items():
        torch.testing.assert_close(value, whole[name][rows], rtol=1e-5, atol=1e-5)


@named(ALL)
def test_maps_from_outside_cannot_be_explained_again(metric):
    problem = layered_problem()
    with pytest.raises(ValueError, match="came from outside"):
        metric(problem, random_attributions(problem), RNG)
