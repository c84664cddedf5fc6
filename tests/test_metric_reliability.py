"""The reliability of metrics: its scores by closed forms and plain loops, the perturbations, what is stored, table and sentence."""

import dataclasses
import itertools
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from xaibench.datasets.digits import Digits
from xaibench.explainers.expected_gradients import ExpectedGradients
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.metric_reliability import __main__ as study
from xaibench.metric_reliability import meta_evaluation
from xaibench.metric_reliability import tables as reliability_table
from xaibench.metric_reliability.meta_evaluation import NAMES, Trial, consistency, reliability, together
from xaibench.metric_reliability.tables import AGAIN, BOTH, INPUT, MODEL, PIXEL_FLIPPING, PUBLISHED, REVERSED
from xaibench.metrics.max_sensitivity import MaxSensitivity
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.mlp import Mlp
from xaibench.problem import Problem
from xaibench.seeding import Rng
from xaibench.training import Trainer


def conv_problem(batch=4):
    """A small convolutional network on grey images of 8 x 8 pixels, for one target each."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4)).eval().requires_grad_(False)
    images, targets = torch.rand(batch, 1, 8, 8), torch.arange(batch)[:, None] % 4
    return Problem(model, images, targets, targets[:, 0], torch.arange(batch) * 7, torch.rand(5, 1, 8, 8))


def make_trial(original, small, strong, kept=None, changed=None):
    every = np.ones((*np.shape(small)[:2], np.shape(small)[3]), dtype=bool)
    return Trial(original, small, strong, every if kept is None else kept, every if changed is None else changed)


def random_trial(seed=0, iterations=2, times=3, explainers=4, images=8, holes=True):
    """Scores of which some are undefined, an image whose scores stay, and images that do not count."""
    draw = np.random.default_rng(seed)
    shape = (iterations, times, explainers, images)
    original, small, strong = (draw.normal(size=size) for size in (shape[2:], shape, shape))
    small = original + 0.5 * small
    if not holes:
        return make_trial(original, small, strong)
    original[1, 2] = small[0, 1, 3, 4] = strong[1, 2, 0, 5] = np.nan
    small[..., 6] = original[:, 6]
    kept, changed = (draw.random((iterations, times, images)) < 0.8 for _ in range(2))
    return Trial(original, small, strong, kept, changed)


def signed_rank_by_hand(differences):
    """Two-sided p-value by the normal approximation: equal sizes share the mean of their ranks, zeros are half of either sign."""
    sizes = [abs(value) for value in differences]
    ranks = [sum(other < size for other in sizes) + (sum(other == size for other in sizes) + 1) / 2 for size in sizes]
    positive = sum(rank * (0.5 + 0.5 * np.sign(value)) for rank, value in zip(ranks, differences, strict=True))
    z = (positive - sum(ranks) / 2) / math.sqrt(sum(rank**2 for rank in ranks) / 4)
    return math.erfc(abs(z) / math.sqrt(2))


def by_hand(trial, higher_is_better):
    """(5, I) in plain loops, one score at a time."""
    rows = []
    explainers, images = trial.original.shape
    for small, strong, kept, changed in zip(trial.small, trial.strong, trial.kept, trial.changed, strict=True):
        resilient, reactive, same, worse = [], [], [], []
        for k in range(len(small)):
            for scores, counted, found in ((small[k], kept[k], resilient), (strong[k], changed[k], reactive)):
                for one in range(explainers):
                    pairs = [(trial.original[one, n], scores[one, n]) for n in range(images) if counted[n]]
                    found.append(signed_rank_by_hand([after - before for before, after in pairs if np.isfinite(after - before)]))
            ranks, less = [], []
            for n in range(images):
                if kept[k, n] and np.isfinite(trial.original[:, n]).all() and np.isfinite(small[k][:, n]).all():
                    orders = [sorted(range(explainers), key=lambda one: scores[one]) for scores in (trial.original[:, n], small[k][:, n])]
                    ranks += [orders[0].index(one) == orders[1].index(one) for one in range(explainers)]
                for one in range(explainers):
                    if changed[k, n] and np.isfinite(trial.original[one, n] + strong[k][one, n]):
                        better = strong[k][one, n] > trial.original[one, n]
                        less.append(better != higher_is_better)
            same.append(np.mean(ranks))
            worse.append(np.mean(less))
        found = [np.mean(resilient), 1 - np.mean(reactive), np.mean(same), np.mean(worse)]
        rows.append([*found, np.mean(found)])
    return np.array(rows).T


MUTANTS = {
    "kept images not chosen": lambda one: dataclasses.replace(one, kept=np.ones_like(one.kept)),
    "changed images not chosen": lambda one: dataclasses.replace(one, changed=np.ones_like(one.changed)),
    "kept and changed swapped": lambda one: dataclasses.replace(one, kept=one.changed, changed=one.kept),
    "undefined scores as 0": lambda one: Trial(*map(np.nan_to_num, (one.original, one.small, one.strong)), one.kept, one.changed),
    "iterations swapped": lambda one: dataclasses.replace(one, small=one.small[::-1]),
    "perturbations of one strength": lambda one: dataclasses.replace(one, strong=one.small),
    "images shifted": lambda one: dataclasses.replace(one, original=np.roll(one.original, 1, axis=1)),
}


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_scores_are_those_of_plain_loops_and_mutants_are_not(higher_is_better, monkeypatch):
    trial = random_trial()
    expected = by_hand(trial, higher_is_better)
    np.testing.assert_allclose(consistency(trial, higher_is_better), expected, atol=1e-12)
    for name, mutant in MUTANTS.items():
        assert not np.allclose(consistency(mutant(trial), higher_is_better), expected, atol=1e-6), name
    assert not np.allclose(consistency(trial, not higher_is_better), expected, atol=1e-6)
    for name, value in (("zero_method", "wilcox"), ("correction", True), ("alternative", "greater")):
        with monkeypatch.context() as patch:
            patch.setitem(meta_evaluation.SETTINGS, name, value)
            assert not np.allclose(consistency(trial, higher_is_better), expected, atol=1e-6), name


def base(explainers=4, images=20, iterations=2, times=3):
    original = np.random.default_rng(1).permutation(explainers * images).reshape(explainers, images).astype(float)
    return original, np.broadcast_to(original, (iterations, times, explainers, images))


def test_a_metric_that_ignores_perturbations_has_one_half():
    original, same = base()
    np.testing.assert_array_equal(consistency(make_trial(original, same, same), True), np.array([[1, 0, 1, 0, 0.5]] * 2).T)


def test_a_metric_that_reacts_to_strong_perturbations_only_has_all_it_can_have():
    original, same = base()
    fall = np.arange(1, 21) / 7
    p = math.erfc(20 * 21 / 4 / math.sqrt(20 * 21 * 41 / 24) / math.sqrt(2))  # all differences have one sign: T = 0
    expected = np.array([1, 1 - p, 1, 1, 1 - p / 4])
    np.testing.assert_allclose(consistency(make_trial(original, same, same - fall), True)[:, 0], expected)
    np.testing.assert_allclose(consistency(make_trial(original, same, same + fall), False)[:, 0], expected)
    # the same reaction in the wrong direction
    np.testing.assert_allclose(consistency(make_trial(original, same, same + fall), True)[3], 0)


@pytest.mark.parametrize(("explainers", "stay"), [(4, 0.0), (5, 0.2)])
def test_a_metric_that_reverses_the_explainers_keeps_the_rank_of_the_middle_one(explainers, stay):
    original, same = base(explainers)
    np.testing.assert_allclose(consistency(make_trial(original, -same, same), True)[2], stay)


def test_random_scores_have_what_chance_gives():
    draw = np.random.default_rng(3)
    found = []
    for _ in range(200):
        original, small, strong = draw.normal(size=(4, 20)), draw.normal(size=(1, 1, 4, 20)), draw.normal(size=(1, 1, 4, 20))
        found.append(consistency(make_trial(original, small, strong), True)[:, 0])
    found = np.mean(found, axis=0)
    np.testing.assert_allclose(found, [0.5, 0.5, 0.25, 0.5, 0.4375], atol=0.035)


def test_equal_scores_share_their_rank_and_are_not_worse():
    original = np.array([[1.0, 1.0], [1.0, 1.0], [3.0, 3.0]])
    small = np.array([[2.0, 1.0], [2.0, 2.0], [3.0, 3.0]])[None, None]
    trial = make_trial(original, small, np.broadcast_to(original, (1, 1, 3, 2)))
    np.testing.assert_allclose(consistency(trial, True)[2:4, 0], [4 / 6, 0])


def test_nothing_that_counts_is_undefined_and_undefined_scores_are_counted():
    original, same = base()
    none = np.zeros((2, 3, 20), dtype=bool)
    found = consistency(make_trial(original, same, same, changed=none), True)
    assert np.isnan(found[[1, 3, 4]]).all()
    np.testing.assert_array_equal(found[[0, 2]], 1)
    small = same.copy()
    small[0, 0, 0, :5] = np.nan
    assert meta_evaluation.undefined(make_trial(original, small, same, changed=none)) == pytest.approx(5 / (6 * 4 * 20))


def test_means_over_trials_are_those_of_their_scores_and_resamples():
    trial = random_trial(images=15, holes=False)
    found, other = reliability(trial, True, 6), reliability(random_trial(5, images=15, holes=False), True, 6)
    assert list(found.mean) == list(NAMES)
    assert list(found.mean.values()) == pytest.approx(list(consistency(trial, True).mean(axis=1)))
    twice = together([found, found])
    assert (twice.mean, twice.low, twice.high) == (found.mean, found.low, found.high)
    both = together([found, other])
    assert both.mean["mc"] == pytest.approx((found.mean["mc"] + other.mean["mc"]) / 2)
    assert both.high["mc"] - both.mean["mc"] == pytest.approx(
        1.96 * np.std((found.resampled[4] + other.resampled[4]) / 2, ddof=1), rel=1e-4
    )


def test_intervals_have_the_width_that_scores_of_other_images_spread():
    """Random scores: about 95 % of the intervals hold the expected value, and far fewer would if they were a quarter as wide."""
    draw, expected = np.random.default_rng(0), (0.5 + 0.5 + 1 / 3 + 0.5) / 4
    apart = []
    for _ in range(40):
        original, small, strong = draw.normal(size=(3, 24)), draw.normal(size=(1, 2, 3, 24)), draw.normal(size=(1, 2, 3, 24))
        found = reliability(make_trial(original, small, strong), True, 20)
        apart.append(2 * abs(found.mean["mc"] - expected) / (found.high["mc"] - found.low["mc"]))
    assert np.mean(np.array(apart) <= 1) >= 0.9
    assert np.mean(np.array(apart) <= 0.25) <= 0.6


def test_resamples_draw_images_and_iterations():
    """With scores that differ between iterations only, or between images only, the resamples differ all the same."""
    original, same = base(images=20, iterations=2)
    for strong in (np.stack([same[0] - 1, same[0] + 1]), np.where(np.arange(20) < 10, same - 1, same + 1)):
        assert reliability(make_trial(original, same, strong), True, 12).resampled[3].std() > 0.05
    assert reliability(make_trial(original, same, same - 1), True, 12).resampled[3].std() == 0


def test_noise_stays_within_its_level_and_belongs_to_its_image():
    problem = conv_problem(batch=5)
    noisy = study.noisy_images(problem, 0.1, Rng(0, 1, "noise"))
    moved = (noisy.images - problem.images).abs()
    assert 0.09 < float(moved.max()) <= 0.1 + 1e-6
    assert float(noisy.images.min()) >= 0
    assert float(noisy.images.max()) <= 1
    assert noisy.targets is problem.targets
    alone = study.noisy_images(problem.take(slice(3, 4)), 0.1, Rng(0, 1, "noise"))
    assert torch.equal(alone.images, noisy.images[3:4])
    assert not torch.equal(study.noisy_images(problem, 0.1, Rng(0, 2, "noise")).images, noisy.images)


def test_parameters_are_multiplied_in_a_copy():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 500)).requires_grad_(False).eval()
    problem = dataclasses.replace(conv_problem(), model=model)
    before = model[1].weight.clone()
    ratio = study.noisy_model(problem, 0.5, Rng(0, 1, "noise")).classifier[1].weight / before
    assert torch.equal(model[1].weight, before)
    assert float(ratio.mean()) == pytest.approx(1, abs=0.02)
    assert float(ratio.std()) == pytest.approx(0.5, abs=0.02)
    again = study.noisy_model(problem, 0.5, Rng(0, 2, "noise")).classifier[1].weight / before
    assert not torch.allclose(again, ratio)


def test_maps_have_mean_square_one_and_zero_maps_stay():
    problem = conv_problem(batch=2)
    problem.images[0] = 0
    found = study.explained(InputXGradient(), problem, Rng(0))
    assert float(found.values[0].abs().max()) == 0
    torch.testing.assert_close(found.values[1].square().mean(dim=(1, 2, 3)), torch.ones(1))
    torch.testing.assert_close(found.again(problem).values, found.values)


def test_what_each_test_perturbs(monkeypatch):
    """Of a metric that looks at the map, and of an explainer that draws nothing, and one that draws."""
    monkeypatch.setattr(study, "EXPLAINERS", (Gradient(), ExpectedGradients(samples=3)))
    problem = conv_problem(batch=3)
    plain = study.Condition(problem, 0).scores(Sparseness())
    found = {test: study.Condition(problem, 0, test, "strong", 1, 2) for test in study.LEVELS}
    scores = {test: one.scores(Sparseness()) for test, one in found.items()}
    assert scores[INPUT].shape == (2, 2, 3)
    assert torch.equal(scores[INPUT][:, 0], plain[:, 0].expand(2, -1))
    assert not torch.isclose(scores[INPUT][:, 1], plain[:, 1]).any()  # the explainer's own draws
    for test in (MODEL, AGAIN):
        assert not torch.isclose(scores[test][:, 0], plain[:, 0]).all(dim=1).any()
        assert not torch.equal(scores[test][0], scores[test][1])
    for one, other in zip(found[INPUT].problems, found[AGAIN].problems, strict=True):
        assert torch.equal(one.images, other.images)
    # a metric that explains again does so around the perturbed image
    reached = found[INPUT].scores(MaxSensitivity(samples=2, radius=0.01))
    assert bool((reached[:, 0] > found[AGAIN].scores(MaxSensitivity(samples=2, radius=0.01))[:, 0]).all())
    expected = problem.classifier(found[AGAIN].problems[1].images).argmax(1)
    assert torch.equal(found[AGAIN].predicted[1], expected)


def test_only_some_metrics_draw_anew_in_every_repetition(monkeypatch):
    """Explainer and problem stay as they are here: what differs between repetitions are the metric's draws."""
    monkeypatch.setattr(study, "EXPLAINERS", (Gradient(),))
    monkeypatch.setitem(study.LEVELS, MODEL, {"small": 0.0, "strong": 0.0})
    condition = study.Condition(conv_problem(), 0, MODEL, "small", 0, 2)
    for name, metric in study.METRICS.items():
        first, second = condition.scores(metric)
        drawn = name not in ("Sparseness", "Complexity", "MPRT")
        assert torch.equal(first, second) != drawn, name


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The whole study on 8 x 8 digits with two explainers; gives the arguments."""
    monkeypatch.setattr(study, "DATASETS", {"MNIST": Digits()})
    monkeypatch.setattr(study, "NETWORK", Mlp())
    monkeypatch.setattr(study, "TRAINER", Trainer(epochs=2))
    monkeypatch.setattr(study, "EXPLAINERS", (Gradient(), InputXGradient()))
    sizes = ["--images", "16", "--iterations", "2", "--perturbations", "2", "--resamples", "3"]
    return [*sizes, "--store", str(tmp_path / "store"), "--folder", str(tmp_path / "study")]


def test_a_run_goes_on_where_it_was_cut_off(tiny, tmp_path, monkeypatch):
    study.main(tiny)
    written = (tmp_path / "study/reliability.csv").read_bytes()
    stored = sorted((tmp_path / "store" / study.STAGE).iterdir())
    assert len(stored) == 8 * (1 + 3 * 2 * 2)
    assert (tmp_path / "study/reliability.png").stat().st_size > 10_000
    assert "| Local Lipschitz |" in (tmp_path / "study/table.md").read_text()
    table = pd.read_csv(tmp_path / "study/reliability.csv")
    assert set(table.metric) == {*PUBLISHED, REVERSED}
    assert set(table.test) == {MODEL, INPUT, AGAIN, BOTH}
    turned = table[(table.score == "iec_ar") & (table.test == MODEL)].set_index("metric").value
    assert turned[PIXEL_FLIPPING] + turned[REVERSED] == pytest.approx(1)
    for folder in stored[:3]:
        shutil.rmtree(folder)
    computed, scores = [], study.Condition.scores
    monkeypatch.setattr(study.Condition, "scores", lambda self, metric: computed.append(metric) or scores(self, metric))
    study.main(tiny)
    assert len(computed) == 3
    assert (tmp_path / "study/reliability.csv").read_bytes() == written
    study.main(["--draw", "--folder", str(tmp_path / "study")])
    assert len(computed) == 3


def synthetic(change):
    """Rows of one data set whose MC is `change` of the published one, with intervals of .01 to both sides."""
    rows = []
    for metric, known in PUBLISHED.items():
        for test, score in itertools.product((MODEL, INPUT, AGAIN, BOTH), NAMES):
            value = change(known["MNIST"])
            rows.append(("MNIST", metric, test, score, value, value - 0.01, value + 0.01, 0.99, 0.8, 0.0))
    return pd.DataFrame(rows, columns=reliability_table.COLUMNS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda value: value,
            ["agrees with", "correlation 1.00", "for 8 of 8", "here and in the paper: Local Lipschitz", "paper: Complexity"],
        ),
        (lambda value: value + 0.1, ["agrees with", "correlation 1.00", "for 0 of 8;", "mean difference is 0.100"]),
        (
            lambda value: 1 - value,
            ["does not agree with", "correlation -1.00", "Most reliable here: Complexity, in the paper: Local Lipschitz"],
        ),
    ],
)
def test_the_sentence_says_what_the_numbers_say(change, said):
    sentence = reliability_table.agreement(synthetic(change), "MNIST")
    assert [part for part in said if part not in sentence] == []


def test_the_table_has_ours_beside_the_published_and_the_levels():
    facts = {"images": 5, "iterations": 2, "perturbations": 3, "resamples": 9, "training seed": 0, "command": "c", "levels": study.LEVELS}
    text = reliability_table.markdown(synthetic(lambda value: 1 - value), facts)
    numbers = "0.442 (0.432 to 0.452)"
    assert f"| Sparseness | {numbers} | 0.558 | 3 | 6 | {numbers} | {numbers} | {numbers} |" in text
    assert "| model | 0.001 | 99.0% | 2 | 80.0% |" in text
