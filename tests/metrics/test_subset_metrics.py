"""Metrics that correlate attributions with what removing subsets of pixels does: closed forms, and loops with scipy."""

import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from ranking_cases import RNG, conv_problem, linear_problem, make_problem, pixel_orders, random_attributions, without_pixels
from scipy import stats
from torch import nn

from xaibench.explainers.gradient import Gradient
from xaibench.metrics import changes as changes_module
from xaibench.metrics import subsets
from xaibench.metrics.changes import changes, output_changes
from xaibench.metrics.faithfulness_correlation import FaithfulnessCorrelation
from xaibench.metrics.faithfulness_estimate import FaithfulnessEstimate
from xaibench.metrics.monotonicity import Monotonicity
from xaibench.metrics.monotonicity_correlation import MonotonicityCorrelation
from xaibench.metrics.mufidelity import MuFidelity
from xaibench.metrics.sensitivity_n import SensitivityN
from xaibench.problem import Attributions
from xaibench.removal import Constant, Marginal, TrainingMean
from xaibench.superpixels import Slic, Squares

SUMS = {
    "sensitivity_n": SensitivityN(fractions=(0.05, 0.3, 0.8), samples=20),
    "faithfulness_correlation": FaithfulnessCorrelation(samples=20),
    "faithfulness_estimate": FaithfulnessEstimate(),
    "mufidelity": MuFidelity(superpixels=Squares(4), samples=20),  # 4 does not divide 6: squares of 1, 2 and 4 pixels
}
by_sums = pytest.mark.parametrize("name", SUMS)


def value(metric, problem, attributions):
    return metric(problem, attributions, RNG).values["value"]


# --- closed forms


@by_sums
def test_true_effects_of_a_linear_logit_correlate_exactly(name):
    problem, effects = linear_problem()
    metric = replace(SUMS[name], output="logit")
    assert torch.allclose(value(metric, problem, Attributions(effects)), torch.ones(4, 2), atol=1e-5)
    assert torch.allclose(value(metric, problem, Attributions(-3 * effects)), -torch.ones(4, 2), atol=1e-5)
    mutated = [effects.roll(1, dims=4), effects.flip(1), effects.abs(), effects.roll(1, dims=0)]
    assert all((value(metric, problem, Attributions(values)) < 0.99).any() for values in mutated)
    assert (value(replace(metric, removal=Constant(1.0)), problem, Attributions(effects)) < 0.99).any()


def test_squared_effects_rank_the_pixels_of_a_linear_logit_by_their_uncertainty():
    """With black for the unknown value the uncertainty of a pixel is its squared effect."""
    problem, effects = linear_problem()
    metric = MonotonicityCorrelation(removal=Constant(0.0), output="logit")
    assert (value(metric, problem, Attributions(effects)) > 0.999).all()
    assert torch.equal(value(metric, problem, Attributions(effects)), value(metric, problem, Attributions(-effects * 5)))
    assert (value(metric, problem, Attributions(effects.roll(1, dims=4))) < 0.9).all()


# --- loops


def output(problem, image, b, t, what):
    with torch.inference_mode():
        logits = problem.model(image[None])
    return (logits if what == "logit" else logits.softmax(dim=1))[0, problem.targets[b, t]].item()


def loop(metric, problem, attributions, correlation):
    """(B, T): drops and sums subset by subset, with the metric's own subsets."""
    chosen, (batch, targets) = metric.subsets(problem, RNG), problem.targets.shape
    kept = [chosen.without(torch.tensor([s]))[0, 0] for s in range(metric.count(problem))]
    found = torch.empty(batch, targets)
    for b in range(batch):
        for t in range(targets):
            sums = [float(attributions.values[b, t].double().sum(0)[~mask].sum()) for mask in kept]
            full = output(problem, problem.images[b], b, t, metric.output)
            drops = [full - output(problem, problem.images[b] * mask, b, t, metric.output) for mask in kept]
            found[b, t] = correlation(metric, sums, drops)
    return found


def by_scipy(metric, sums, drops):
    if isinstance(metric, SensitivityN):
        parts = range(0, len(sums), metric.samples)
        found = [stats.pearsonr(sums[i : i + metric.samples], drops[i : i + metric.samples]).statistic for i in parts]
        return sum(found) / len(found)
    return (stats.spearmanr if isinstance(metric, MuFidelity) else stats.pearsonr)(sums, drops).statistic


@by_sums
def test_scores_equal_loops_over_images_targets_and_subsets(name):
    problem = conv_problem()
    attributions = random_attributions(problem)
    assert torch.allclose(value(SUMS[name], problem, attributions), loop(SUMS[name], problem, attributions, by_scipy), atol=1e-4)


def cumulative(before, after, output):
    """Fault 6 of PITFALLS: each subset beside the drop of all the subsets so far."""
    return output_changes(before, after, output).cumsum(dim=-1)


FAULTS = {
    "cumulative drops": cumulative,
    "rises": lambda before, after, output: -output_changes(before, after, output),
    "no drop, but the output": lambda before, after, output: -output_changes(torch.zeros_like(after), after, output),
    "targets swapped": lambda before, after, output: output_changes(before, after, output).flip(1),
    "absolute drops": lambda before, after, output: output_changes(before, after, output).abs(),
}


@by_sums
@pytest.mark.parametrize("fault", FAULTS)
def test_loops_reject_mutants(name, fault, monkeypatch):
    problem = conv_problem()
    attributions = random_attributions(problem)
    expected = loop(SUMS[name], problem, attributions, by_scipy)
    monkeypatch.setattr(subsets, "output_changes", FAULTS[fault])
    assert not torch.allclose(value(SUMS[name], problem, attributions), expected, atol=1e-3)


@by_sums
def test_loops_reject_sums_over_what_is_kept(name, monkeypatch):
    problem = conv_problem()
    attributions = random_attributions(problem)
    expected, sums = loop(SUMS[name], problem, attributions, by_scipy), subsets.Subsets.sums
    monkeypatch.setattr(subsets.Subsets, "sums", lambda self, maps: maps.sum((2, 3))[..., None].float() - sums(self, maps))
    assert not torch.allclose(value(SUMS[name], problem, attributions), expected, atol=1e-3)


def test_fault_6_sensitivity_n_of_quantus_true_attributions_score_1_for_every_n():
    problem, effects = linear_problem()
    scores = SUMS["sensitivity_n"](problem, Attributions(effects), RNG).values
    assert set(scores) == {"value", "n_2", "n_11", "n_29"}
    assert all(torch.allclose(score, torch.ones(4, 2), atol=1e-5) for score in scores.values())


def test_fault_6_is_rejected(monkeypatch):
    problem, effects = linear_problem()
    monkeypatch.setattr(subsets, "output_changes", cumulative)
    assert (SUMS["sensitivity_n"](problem, Attributions(effects), RNG).values["n_2"] < 0.9).all()


def uncertainty_loop(problem, attributions, draws, power=2):
    """(B, T): Spearman over the pixels between |attribution| and the mean over background images of |change|^power."""
    found = torch.empty(problem.targets.shape)
    for b in range(len(problem.images)):
        for t in range(problem.targets.shape[1]):
            full, spread = output(problem, problem.images[b], b, t, "probability"), []
            for pixel in range(36):
                image, total = problem.images[b].clone(), 0.0
                for d in range(draws):
                    image[:, pixel // 6, pixel % 6] = problem.background[d, :, pixel // 6, pixel % 6]
                    total += abs(full - output(problem, image, b, t, "probability")) ** power
                spread.append(total / draws)
            found[b, t] = stats.spearmanr(attributions.values[b, t].double().sum(0).abs().flatten(), spread).statistic
    return found


def test_monotonicity_correlation_equals_loops_over_pixels_and_background_images():
    problem = conv_problem(batch=2)
    attributions, metric = random_attributions(problem), MonotonicityCorrelation(removal=Marginal(3))
    found = value(metric, problem, attributions)
    assert torch.allclose(found, uncertainty_loop(problem, attributions, 3), atol=1e-4)
    assert not torch.allclose(found, uncertainty_loop(problem, attributions, 2), atol=1e-4)
    assert not torch.allclose(found, uncertainty_loop(problem, attributions, 3, power=1), atol=1e-4)


def test_outputs_under_several_draws_of_the_removal_are_averaged():
    problem = conv_problem(batch=2)
    attributions = random_attributions(problem)
    one_by_one = [replace(problem, background=problem.background[d : d + 1]) for d in range(3)]
    metric = FaithfulnessEstimate(removal=Marginal(3))
    chosen = metric.subsets(problem, RNG)
    drops = torch.stack([drops_of(metric, each, chosen) for each in one_by_one]).mean(0)
    expected = [[stats.pearsonr(chosen.sums(maps[None, None])[0, 0], drop).statistic for maps, drop in zip(image, row, strict=True)]
                for image, row in zip(attributions.values.double().sum(2), drops, strict=True)]  # fmt: skip
    assert torch.allclose(value(metric, problem, attributions), torch.tensor(expected, dtype=torch.float32), atol=1e-4)


def drops_of(metric, problem, chosen):
    """(B, T, S)."""
    found = torch.empty(*problem.targets.shape, 36)
    for b, t, s in torch.cartesian_prod(*map(torch.arange, found.shape)).tolist():
        kept = chosen.without(torch.tensor([s]))[0]
        altered = torch.where(kept, problem.images[b], problem.background[0])
        found[b, t, s] = output(problem, problem.images[b], b, t, "probability") - output(problem, altered, b, t, "probability")
    return found


# --- the subsets


def test_subsets_have_exactly_their_size_and_all_pixels_are_equally_likely():
    regions = Squares(36)(torch.zeros(1, 1, 6, 6))[0]
    drawn = subsets.drawn(regions, [1, 7, 35], 2000, RNG.shared())
    sizes = (~drawn.kept).flatten(1).sum(1).unflatten(0, (3, 2000))
    assert torch.equal(sizes, torch.tensor([1, 7, 35])[:, None].expand(3, 2000))
    share = drawn.chosen.unflatten(0, (3, 2000)).double().mean(1)
    expected = torch.tensor([1, 7, 35])[:, None] / 36
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / 2000).sqrt()).all()
    assert len({tuple(row) for row in drawn.chosen[2000:4000].int().tolist()}) > 1990


def test_regions_are_removed_as_a_whole():
    regions = Squares(4)(torch.zeros(1, 1, 6, 7))[0]
    drawn = subsets.drawn(regions, [5], 30, RNG.shared())
    for kept, chosen in zip(drawn.kept[:, 0], drawn.chosen, strict=True):
        assert set(regions[~kept].tolist()) == set(chosen.nonzero().flatten().tolist())
        assert not set(regions[~kept].tolist()) & set(regions[kept].tolist())
    maps = torch.arange(42.0, dtype=torch.float64).reshape(1, 1, 6, 7)
    assert drawn.sums(maps)[0, 0].tolist() == [maps[0, 0][~kept].sum().item() for kept in drawn.kept[:, 0]]
    alone = subsets.singles(regions)
    assert alone.sums(maps)[0, 0].tolist() == [maps[0, 0][regions == region].sum().item() for region in range(16)]
    assert all(torch.equal(alone.without(torch.tensor([region]))[0, 0], regions != region) for region in range(16))


def test_sums_that_differ_only_by_the_order_of_adding_are_equal():
    """0.1, 0.2 and 0.3 in all orders: float64 sums of them differ, and ranks must not."""
    maps = torch.tensor([0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.2, 0.3, 0.1], dtype=torch.float64).reshape(1, 1, 3, 3)
    regions = torch.arange(9).reshape(3, 3) // 3
    found = subsets.singles(regions).sums(maps)[0, 0]
    assert len(set(found.tolist())) == 1
    assert len({sum(row) for row in maps[0, 0].tolist()}) > 1


@pytest.mark.parametrize(("fraction", "count", "expected"), [(0.0, 36, 1), (1.0, 36, 35), (0.2, 81, 16), (0.5, 1, 1), (0.5, 2, 1)])
def test_a_subset_is_neither_empty_nor_everything(fraction, count, expected):
    assert subsets.size(fraction, count) == expected


# --- what is defined


@pytest.mark.parametrize("metric", [*SUMS.values(), MonotonicityCorrelation(removal=TrainingMean())], ids=lambda m: type(m).__name__)
def test_scale_changes_nothing_and_constants_have_no_correlation(metric):
    problem = conv_problem()
    found = random_attributions(problem)
    found.values[1, 1] = 0.1
    found.values[2, 0, 1, 3, 3] = torch.nan
    expected = value(metric, problem, found)
    assert expected.isnan().tolist() == [[False, False], [False, True], [True, False], [False, False]]
    scaled = value(metric, problem, Attributions(found.values * torch.tensor([1e-3, 7.0])[None, :, None, None, None]))
    assert torch.allclose(scaled, expected, atol=1e-5, equal_nan=True)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(108, 4))
    nn.init.zeros_(flat[1].weight)
    assert value(metric, replace(problem, model=flat.requires_grad_(False)), random_attributions(problem)).isnan().all()


def test_changes_that_float32_does_not_resolve_are_none():
    before, after = torch.tensor([[[8.0]]]), torch.tensor([[[8.0, 8.0 + 2e-6, 8.0 - 2e-6, 7.99, 4.0]]])
    assert changes(before, after)[0, 0].tolist() == [0, 0, 0, pytest.approx(0.01, rel=1e-4), 4]


def test_docstrings_name_the_share_that_is_none():
    sources = [path.read_text() for path in Path(subsets.__file__).parent.glob("*.py")]
    named = [int(power) for source in sources for power in re.findall(r"2\^-(\d+)", source)]
    assert len(named) >= 7
    assert {2.0**-power for power in named} == {changes_module.RESOLUTION}


def test_changes_of_probabilities_are_resolved_near_0_and_near_1():
    log_odds = torch.tensor([[[36.0]], [[-36.0]], [[0.0]], [[-2.0]]]), torch.tensor([[[35.75]], [[-36.25]], [[-36.0]], [[36.0]]])
    small = math.exp(-35.75) - math.exp(-36)
    expected = [small, small * math.exp(-0.25), 0.5, -1 / (1 + math.exp(-2))]
    assert output_changes(*log_odds, "probability").flatten().tolist() == pytest.approx(expected, rel=1e-12, abs=0)
    swapped = output_changes(log_odds[1], log_odds[0], "probability").flatten().tolist()
    assert swapped == pytest.approx([-change for change in expected], rel=1e-12, abs=0)
    same = torch.tensor([[[36.0]]])
    assert output_changes(same, same * (1 + 1e-7), "probability").item() == 0


def test_regions_that_differ_between_images_are_refused():
    assert "same regions from all images" in FaithfulnessEstimate(superpixels=Slic()).unsupported(conv_problem(), Gradient())
    assert "background" in MonotonicityCorrelation().unsupported(replace(conv_problem(), background=torch.empty(0, 3, 6, 6)), Gradient())


# --- monotonicity along a curve


def positive_problem():
    """A linear logit to which every pixel adds."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    model[1].weight.data[0].abs_()
    problem = make_problem(model, channels=1, targets=1)
    problem = replace(problem, targets=torch.zeros_like(problem.targets))
    return problem, model[1].weight[0].reshape(1, 1, 1, 6, 6) * problem.images[:, None]


def test_adding_what_adds_is_monotone():
    problem, effects = positive_problem()
    scores = Monotonicity(steps=36, output="logit")(problem, Attributions(effects), RNG).values
    assert torch.equal(scores["value"], torch.ones(4, 1))
    assert torch.equal(scores["monotone"], torch.ones(4, 1))


def share_loop(problem, attributions, steps, reverse=False):
    orders, found = pixel_orders(attributions), torch.empty(problem.targets.shape)
    for b in range(len(problem.images)):
        for t in range(problem.targets.shape[1]):
            order = orders[b][t][::-1] if reverse else orders[b][t]
            gone = [order[: 36 - round(36 * s / steps)] for s in range(steps + 1)]
            points = [output(problem, without_pixels(problem.images[b], pixels), b, t, "probability") for pixels in gone]
            found[b, t] = sum(later >= earlier for earlier, later in pairwise(points)) / steps
    return found


def test_monotonicity_equals_loops_that_add_the_least_relevant_first():
    problem = conv_problem()
    attributions = random_attributions(problem)
    scores = Monotonicity(steps=18)(problem, attributions, RNG).values
    assert torch.allclose(scores["value"], share_loop(problem, attributions, 18))
    assert not torch.allclose(scores["value"], share_loop(problem, attributions, 18, reverse=True))
    assert torch.equal(scores["monotone"], torch.zeros(4, 2))


def test_putting_in_pixels_that_change_nothing_is_no_fall(monkeypatch):
    """Rounding, which differs with the place in a batch, would make every second of them one."""
    problem = conv_problem(batch=2, chunk=5)
    problem.images[:] = 0.0
    noisy = nn.Sequential(problem.model, Rounding())
    problem, metric = replace(problem, model=noisy), Monotonicity(steps=36, output="logit")
    assert torch.equal(value(metric, problem, random_attributions(problem)), torch.ones(2, 2))
    monkeypatch.setattr(changes_module, "RESOLUTION", 0.0)
    assert (value(metric, problem, random_attributions(problem)) < 0.8).all()


class Rounding(nn.Module):
    """The last bits of the logits depend on the place in the batch."""

    def forward(self, logits):
        return logits * (1 + 1e-7 * (torch.arange(len(logits)) % 2))[:, None]
