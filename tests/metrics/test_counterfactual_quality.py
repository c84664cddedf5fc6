"""Frechet distance, plausibility, redundancy, agreement with attributions and passes per pair against plain loops and by hand."""

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from xaibench import cost
from xaibench.component import ConfigurationError
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.random import Random
from xaibench.metrics import frechet
from xaibench.metrics.attribution_agreement import AttributionAgreement
from xaibench.metrics.counterfactual_metric import Found
from xaibench.metrics.frechet_distance import FrechetDistance
from xaibench.metrics.passes_per_pair import PassesPerPair
from xaibench.metrics.plausibility import Plausibility
from xaibench.metrics.redundancy import Redundancy
from xaibench.problem import Counterfactuals, Passes, Problem, Split
from xaibench.scoring import scored
from xaibench.searching import CounterfactualExplainer
from xaibench.seeding import Rng

RNG = Rng(seed=3, component="test")
BATCH, TARGETS, CLASSES, HEIGHT, WIDTH = 14, 3, 4, 6, 5
AGREEMENT = AttributionAgreement(Gradient())
PAIRWISE = [Plausibility(), Plausibility(by="prediction"), Redundancy(pixels=4), Redundancy(pixels=None), AGREEMENT]
METRICS = [*PAIRWISE, FrechetDistance(), PassesPerPair()]


def name(metric):
    return type(metric).__name__


def network(channels, scale=8.0):
    torch.manual_seed(1)
    layers = [nn.Flatten(), nn.Linear(channels * HEIGHT * WIDTH, 7), nn.Tanh(), nn.Linear(7, CLASSES)]
    layers[1].weight.data *= scale
    layers[1].bias.data = -layers[1].weight.data.sum(1) / 2  # images of .5 are undecided
    return nn.Sequential(*layers).eval().requires_grad_(False)


@cache
def case(channels=3, chunk=7):
    """A problem with training images near and far, and counterfactuals that change some pixels and are of their class."""
    draw, model, shape = torch.Generator().manual_seed(0), network(channels), (channels, HEIGHT, WIDTH)
    images = torch.rand(BATCH, *shape, generator=draw)
    targets = torch.stack([torch.randperm(CLASSES, generator=draw)[:TARGETS] for _ in range(BATCH)])
    changes = torch.randn(BATCH, TARGETS, *shape, generator=draw) * (torch.rand(BATCH, TARGETS, 1, HEIGHT, WIDTH, generator=draw) < 0.4)
    proposed = (images[:, None] + changes).clamp(0, 1)
    targets = model(proposed.flatten(0, 1)).argmax(1).view(BATCH, TARGETS)
    probabilities = model(images).softmax(1)
    asked = targets != probabilities.argmax(1)[:, None]
    found = asked & (torch.rand(BATCH, TARGETS, generator=draw) < 0.9)
    found[4] = False
    training = (proposed.flatten(0, 1).repeat(2, 1, 1, 1) + 0.4 * torch.randn(2 * BATCH * TARGETS, *shape, generator=draw)).clamp(0, 1)
    problem = Problem(
        model=model,
        images=images,
        targets=targets,
        labels=torch.zeros(BATCH, dtype=torch.int64),
        index=torch.randperm(1000, generator=draw)[:BATCH],
        background=training[:2],
        probabilities=probabilities,
        training_data=Split(training, torch.randint(0, CLASSES, (len(training),), generator=draw)),
        chunk=chunk,
    )
    passes = torch.randint(1, 90, (2, BATCH, TARGETS), generator=draw) * asked
    return problem, Counterfactuals(proposed, found, asked, passes[0], passes[1])


def score(metric, problem, explanation, rng=RNG):
    return scored(metric, problem, explanation, rng).values


def pairs(problem, explanation):
    """Every pair that was found: (b, t, original, counterfactual, target)."""
    for b, t in explanation.found.nonzero().tolist():
        yield b, t, problem.images[b], explanation.images[b, t], int(problem.targets[b, t])


def agrees(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected.to(torch.float32), rtol=tolerance, atol=tolerance, equal_nan=True)


def empty():
    return torch.full((BATCH, TARGETS), torch.nan)


def rejects(check, **fault):
    with pytest.raises(AssertionError):
        check(**fault)


# Frechet distance


def penultimate(model, images):
    return torch.tanh(model[1](images.flatten(1))).double().numpy()


def distance(one, other, ddof=1, means=True, product=True):
    """Heusel et al., eq. 6, with a general root of the product of the covariances."""
    covariances = [np.cov(features, rowvar=False, ddof=ddof) for features in (one, other)]
    apart = ((one.mean(0) - other.mean(0)) ** 2).sum() if means else 0.0
    return apart + np.trace(sum(covariances)) - (2 * np.trace(sqrtm(covariances[0] @ covariances[1]).real) if product else 0.0)


def check_frechet(channels=1, by_image=True, raw=False, **fault):
    problem, explanation = case(channels)
    values = score(FrechetDistance(), problem, explanation)
    rows = [(b, t, counterfactual) for b, t, _, counterfactual, _ in pairs(problem, explanation)]
    features, training = (
        ((lambda images: images.flatten(1).double().numpy()) if raw else (lambda images: penultimate(problem.model, images))),
        None,
    )
    own, training = features(torch.stack([image for *_, image in rows])), features(problem.training_data.images)
    plain, expected = distance(own, training, **fault), empty()
    groups = [b if by_image else number for number, (b, _, _) in enumerate(rows)]
    count = len(set(groups))
    for number, (b, t, _) in enumerate(rows):
        left = [other for other in range(len(rows)) if groups[other] != groups[number]]
        expected[b, t] = count * plain - (count - 1) * distance(own[left], training, **fault)
    agrees(values["value"], expected)
    agrees(values["plain"], torch.where(explanation.found, plain, torch.nan))


def test_frechet_distances_are_those_of_a_plain_loop_and_the_loop_rejects_mutants():
    check_frechet(1)
    check_frechet(3)
    for fault in ({"ddof": 0}, {"means": False}, {"product": False}, {"by_image": False}):
        rejects(check_frechet, **fault)


def test_the_frechet_distance_of_numbers_is_that_of_means_and_deviations():
    one, other = torch.tensor([[1.0], [3.0], [8.0], [4.0]]), torch.tensor([[0.0], [2.0], [10.0]])
    found = frechet.without(one, torch.tensor([1, 1, 2, 3]), 4, frechet.reference(other))
    samples = [one, one[2:], one[[0, 1, 3]], one[:3]]
    expected = [(part.mean() - other.mean()) ** 2 + (part.std() - other.std()) ** 2 for part in samples]
    agrees(found.float(), torch.stack(expected))
    assert found.isfinite().all()
    assert frechet.without(one[:2], torch.tensor([1, 2]), 3, frechet.reference(other)).isnan().tolist() == [False, True, True]
    most = frechet.without(one, torch.tensor([1, 1, 1, 2]), 3, frechet.reference(other))  # without the first group, one is left
    agrees(most.float(), torch.stack([expected[0], torch.tensor(torch.nan), expected[3]]))


def test_a_set_has_no_frechet_distance_from_itself_though_features_are_dead_or_more_than_samples():
    draw = torch.Generator().manual_seed(2)
    for samples, width in ((60, 12), (9, 20)):
        features = torch.randn(samples, width, generator=draw).relu() * 10
        features[:, :4] = 0
        features[:, 5] = features[:, 6]
        other = frechet.reference(features)
        none = torch.ones(samples, dtype=torch.int64)
        assert abs(float(frechet.without(features, none, 2, other)[0])) < 1e-10 * float(other.variance)
        assert float(frechet.without(features + 0.1, none, 2, other)[0]) > 0.005


def test_the_frechet_distance_of_fewer_samples_than_features_is_that_by_singular_values():
    """The trace of the root is the nuclear norm of the product of the two centered sets of features, were it computed so."""
    draw = torch.Generator().manual_seed(5)
    one, other = torch.randn(7, 15, generator=draw).double(), torch.randn(30, 15, generator=draw).double() * 2 + 1
    centered = [features - features.mean(0) for features in (one, other)]
    apart = (one.mean(0) - other.mean(0)).square().sum()
    scale = [len(features) - 1 for features in centered]
    product = torch.linalg.svdvals(centered[0] @ centered[1].T).sum() / (scale[0] * scale[1]) ** 0.5
    variances = sum(features.square().sum() / size for features, size in zip(centered, scale, strict=True))
    found = frechet.without(one, torch.ones(7, dtype=torch.int64), 2, frechet.reference(other))[0]
    torch.testing.assert_close(found, apart + variances - 2 * product, rtol=1e-11, atol=0)


def test_parts_of_the_groups_give_the_same_frechet_distances(monkeypatch):
    draw = torch.Generator().manual_seed(4)
    features, other = torch.randn(50, 6, generator=draw), frechet.reference(torch.randn(70, 6, generator=draw))
    group = torch.randint(1, 20, (50,), generator=draw).sort().values
    whole = frechet.without(features, group, 21, other)
    monkeypatch.setattr(frechet, "VALUES", 100)
    torch.testing.assert_close(frechet.without(features, group, 21, other), whole, rtol=1e-12, atol=0)
    assert whole[0] == whole[20]  # empty groups
    assert len(whole.unique()) > 15


def test_the_jackknife_estimates_the_frechet_distance_of_the_populations_better_than_the_plain_one():
    draw, other = torch.Generator().manual_seed(6), torch.cat([torch.eye(5), -torch.eye(5)]).double() * 4.5**0.5  # covariance 1
    errors = []
    for _ in range(100):
        found = frechet.without(torch.randn(30, 5, generator=draw) + 0.5, torch.arange(1, 31), 31, frechet.reference(other))
        errors.append([float(distance) - 5 * 0.5**2 for distance in (found[0], 30 * found[0] - 29 * found[1:].mean())])
    (plain, corrected), noise = np.mean(errors, axis=0), np.std(errors, axis=0) / 100**0.5
    assert plain > 4 * noise[0]
    assert abs(corrected) < 3 * noise[1]


def test_the_frechet_distance_looks_at_as_many_training_images_as_asked_for_whatever_the_seed():
    problem, explanation = case()
    metric = FrechetDistance(train_images=15)
    values = score(metric, problem, explanation)
    assert torch.equal(values["value"].nan_to_num(), score(metric, problem, explanation, Rng(seed=8, draw=2))["value"].nan_to_num())
    assert not torch.equal(values["plain"].nan_to_num(), score(FrechetDistance(), problem, explanation)["plain"].nan_to_num())
    with cost.measure(problem.model) as counted:
        metric(problem, explanation, RNG)
    assert counted.passes == Passes(15 + int(explanation.found.sum()))
    assert metric.passes(problem, AnyExplainer()) == Passes(15 + BATCH * TARGETS)


def test_features_that_are_not_finite_and_single_images_have_no_frechet_distance():
    problem, explanation = case()
    images = problem.training_data.images.clone()
    images[0] = torch.nan
    broken = replace(problem, training_data=Split(images, problem.training_data.labels))
    assert all(value.isnan().all() for value in score(FrechetDistance(), broken, explanation).values())
    rows = slice(int((explanation.found.sum(1) > 1).nonzero()[0]), None)
    one = score(FrechetDistance(), problem.take(rows).take(slice(1)), explanation.take(rows).take(slice(1)))
    assert one["value"].isnan().all()
    assert torch.equal(one["plain"].isfinite(), explanation.take(rows).found[:1])


# Plausibility


def check_plausibility(channels=1, k=5, by="label", power=2, to_original=False, wanted=True):
    problem, explanation = case(channels)
    data, expected = problem.training_data, empty()
    classes = data.labels if by == "label" else problem.model(data.images).argmax(1)
    for b, t, original, counterfactual, target in pairs(problem, explanation):
        start = original if to_original else counterfactual
        far = [float((start.double() - image.double()).abs().pow(power).sum()) for image in data.images]
        nearest = sorted(range(len(far)), key=far.__getitem__)[:k]
        goal = target if wanted else int(problem.probabilities[b].argmax())
        expected[b, t] = sum(int(classes[row]) == goal for row in nearest) / k
    return expected


@pytest.mark.parametrize("by", ["label", "prediction"])
def test_plausibilities_are_those_of_a_plain_loop_and_the_loop_rejects_mutants(by):
    for channels in (1, 3):
        problem, explanation = case(channels)
        found = score(Plausibility(by=by), problem, explanation)["value"]

        def check(channels=channels, found=found, by=by, **fault):
            agrees(found, check_plausibility(channels, **{"by": by} | fault))

        check()
        other = "label" if by == "prediction" else "prediction"
        for fault in ({"k": 4}, {"by": other}, {"power": 1}, {"to_original": True}, {"wanted": False}):
            rejects(check, **fault)
        agrees(score(Plausibility(neighbors=2, by=by), problem, explanation)["value"], check_plausibility(channels, 2, by))


def test_plausibility_needs_as_many_training_images_as_neighbors():
    problem, explanation = case()
    few = replace(problem, training_data=Split(problem.training_data.images[:4], problem.training_data.labels[:4]))
    assert "needs 5 training images, and there are 4" in Plausibility().unsupported(few, AnyExplainer())
    assert Plausibility(neighbors=4).unsupported(few, AnyExplainer()) is None
    none, blind = replace(problem, training_data=None), replace(problem, model=None)
    for metric in (Plausibility(), FrechetDistance()):
        assert "training images" in metric.unsupported(none, AnyExplainer())
        with pytest.raises(ValueError, match="training_data=None"):
            metric(none, explanation, RNG)
    assert Plausibility().unsupported(blind, AnyExplainer()) is None
    assert "model" in Plausibility(by="prediction").unsupported(blind, AnyExplainer())


# Redundancy


def redundant(problem, original, counterfactual, target, tolerance=1 / 512, together=False, removed=False, whole=True):
    """For each changed pixel whether it can be put back."""
    kept, image = [], counterfactual.clone()
    for i, j in ((original - counterfactual).abs().amax(0) > tolerance).nonzero().tolist():
        image = image if together else counterfactual.clone()
        channels = slice(None) if whole else slice(1)
        image[channels, i, j] = 0 if removed else original[channels, i, j]
        kept.append(int(problem.model(image[None]).argmax()) == target)
    return kept


def test_redundancies_are_those_of_a_plain_loop_and_the_loop_rejects_mutants():
    for channels in (1, 3):
        problem, explanation = case(channels)
        found = score(Redundancy(pixels=None), problem, explanation)

        def check(problem=problem, explanation=explanation, found=found, **fault):
            share, count = empty(), empty()
            for b, t, *pair in pairs(problem, explanation):
                kept = redundant(problem, *pair, **fault)
                share[b, t], count[b, t] = sum(kept) / len(kept), sum(kept)
            agrees(found["value"], share)
            agrees(found["count"], count)

        check()
        faults = [{"together": True}, {"removed": True}, {"tolerance": 0.2}, *([{"whole": False}] if channels > 1 else [])]
        for fault in faults:
            rejects(check, **fault)
        coarse = score(Redundancy(pixels=None, tolerance=0.2), problem, explanation)
        check(found=coarse, tolerance=0.2)
        values = found["value"][explanation.found]
        assert ((values > 0) & (values < 1)).any()


def test_redundancy_by_hand():
    """The target wins by 1: of changes worth .5, 2, 0 and .9 all but the second can be put back, and a change too small does not count."""
    gains = torch.zeros(HEIGHT * WIDTH)
    gains[:5] = torch.tensor([0.5, 2.0, 0.0, 0.9, 3.0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(HEIGHT * WIDTH, 2)).eval().requires_grad_(False)
    model[1].weight.data, model[1].bias.data = torch.stack([0 * gains, gains]), torch.tensor([0.0, 1 - 3.4 - 3 * 0.001])
    images = torch.zeros(1, 1, HEIGHT, WIDTH)
    changed = images.clone()
    changed.flatten()[:5] = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.001])
    one, yes = torch.ones(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool)
    problem = Problem(model, images, one, one[0], one[0], images, probabilities=torch.tensor([[0.9, 0.1]]))
    explanation = Counterfactuals(changed[:, None], yes, yes, one, one)
    found = score(Redundancy(), problem, explanation)
    assert {key: float(value) for key, value in found.items()} == {"value": 0.75, "count": 3.0}
    assert float(score(Redundancy(tolerance=0.0), problem, explanation)["value"]) == pytest.approx(4 / 5)
    same = replace(explanation, images=images[:, None])
    assert all(value.isnan().all() for value in score(Redundancy(), problem, same).values())


def test_a_sample_of_pixels_estimates_the_redundancy_without_bias_and_every_pair_draws_for_itself():
    problem, explanation = case(1)
    whole, metric = score(Redundancy(pixels=None), problem, explanation), Redundancy(pixels=3)
    drawn = torch.stack([score(metric, problem, explanation, Rng(seed=seed))["value"] for seed in range(300)])[:, explanation.found]
    assert torch.equal((3 * drawn).round(), 3 * drawn)
    deviation = drawn.std(0)
    assert (deviation > 0).sum() > 4
    assert ((drawn.mean(0) - whole["value"][explanation.found]).abs() <= 4 * deviation / 300**0.5 + 1e-6).all()
    b, t = explanation.found.nonzero()[deviation.argmax()].tolist()
    proposed, target = explanation.images[b, t].expand_as(explanation.images), problem.targets[b, t].expand(BATCH, TARGETS)
    twice = replace(explanation, images=proposed, found=torch.ones_like(explanation.found))
    alike = replace(problem, images=problem.images[b].expand_as(problem.images), targets=target)
    values = torch.stack([score(metric, alike, twice, Rng(seed=seed))["value"] for seed in range(20)])
    assert (values[..., :1] == values).all()  # same index and target
    assert (values.std(1) > 0).any()  # not the same index
    assert torch.equal(score(Redundancy(pixels=30), problem, explanation)["value"].nan_to_num(), whole["value"].nan_to_num())


def test_targets_of_one_image_try_pixels_of_their_own():
    original, proposed = torch.zeros(2, 1, 6, 6), torch.ones(2, 1, 6, 6)
    zeros = torch.zeros(2, dtype=torch.int64)
    pairs = Found(original, proposed, targets=torch.tensor([1, 2]), predicted=zeros, row=zeros, index=zeros)
    there = torch.ones(2, 36, dtype=torch.bool)
    drawn = [Redundancy(pixels=8)._drawn(pairs, there, Rng(seed=seed)).sort(dim=1).values for seed in range(4)]
    assert not any(torch.equal(*pixels) for pixels in drawn)


@pytest.mark.parametrize("pixels", [3, 11, None])
def test_redundancy_takes_one_pass_for_each_pixel_that_is_tried(pixels):
    problem, explanation = case()
    changed = ((explanation.images - problem.images[:, None]).abs().amax(2) > 1 / 512).sum((2, 3))[explanation.found]
    with cost.measure(problem.model) as counted:
        score(Redundancy(pixels=pixels), problem, explanation)
    most = pixels or HEIGHT * WIDTH
    assert counted.passes == Passes(int(changed.clamp(max=most).sum()))
    assert Redundancy(pixels=pixels).passes(problem, AnyExplainer()) == Passes(BATCH * TARGETS * most)


# Agreement with attributions


def ranked(values):
    return [sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2 for value in values]


def agreement(problem, explanation, absolute=True, ties=0.5, of_target=False, tolerance=1 / 512):
    area, correlation = empty(), empty()
    for b, t, original, counterfactual, target in pairs(problem, explanation):
        image = original[None].clone().requires_grad_(True)
        explained = target if of_target else int(problem.probabilities[b].argmax())
        gradient = torch.autograd.grad(problem.model(image)[0, explained], image)[0][0].double()
        relevance = (gradient.abs() if absolute else gradient).sum(0).flatten().tolist()
        change = (counterfactual - original).abs()
        inside = (change.amax(0) > tolerance).flatten().tolist()
        duels = [(a, b) for a, i in zip(relevance, inside, strict=True) for b, j in zip(relevance, inside, strict=True) if i and not j]
        area[b, t] = sum(1.0 if a > b else ties if a == b else 0.0 for a, b in duels) / len(duels) if duels else torch.nan
        correlation[b, t] = np.corrcoef(ranked(relevance), ranked(change.sum(0).flatten().tolist()))[0, 1]
    return area, correlation


def check_agreement(channels=3, tied=False, **fault):
    problem, explanation = case(channels)
    if tied:
        model = copy.deepcopy(problem.model)
        model[1].weight.data[:, ::2] = 0  # half of the inputs do not count
        problem = replace(problem, model=model)
    found, expected = score(AGREEMENT, problem, explanation), agreement(problem, explanation, **fault)
    agrees(found["value"], expected[0])
    agrees(found["rank_correlation"], expected[1])


def test_agreements_are_those_of_a_plain_loop_and_the_loop_rejects_mutants():
    check_agreement(1)
    check_agreement(3)
    check_agreement(1, tied=True)
    rejects(check_agreement, channels=1, tied=True, ties=1.0)
    for fault in ({"absolute": False}, {"of_target": True}, {"tolerance": 0.3}):
        rejects(check_agreement, **fault)


def test_agreement_is_1_where_the_change_is_the_gradient_and_one_half_where_the_map_is_constant():
    weights = torch.zeros(2, HEIGHT * WIDTH)
    weights[0, :7] = torch.arange(1.0, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(HEIGHT * WIDTH, 2)).eval().requires_grad_(False)
    model[1].weight.data = weights
    images, one, yes = torch.full((1, 1, HEIGHT, WIDTH), 0.5), torch.ones(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool)
    problem = Problem(model, images, one, one[0], one[0], images, probabilities=torch.tensor([[0.9, 0.1]]))
    explanation = Counterfactuals((images - weights[0].view_as(images) / 20)[:, None], yes, yes, one, one)
    found = score(AGREEMENT, problem, explanation)
    assert {key: round(float(value), 6) for key, value in found.items()} == {"value": 1.0, "rank_correlation": 1.0}
    model[1].weight.data = torch.stack([torch.ones(HEIGHT * WIDTH), weights[1]])
    found = score(AGREEMENT, problem, explanation)
    assert float(found["value"]) == 0.5
    assert found["rank_correlation"].isnan().all()
    for proposed in (images, images + 0.1):  # no pixel changed, or all
        assert score(AGREEMENT, problem, replace(explanation, images=proposed[:, None]))["value"].isnan().all()
    model[1].weight.data[0, 0] = torch.nan
    assert all(value.isnan().all() for value in score(AGREEMENT, problem, explanation).values())


def test_the_reference_explains_the_predicted_class_once_with_its_own_draws():
    problem, explanation = case()
    for reference in (Gradient(), IntegratedGradients(steps=4)):
        metric = AttributionAgreement(reference)
        with cost.measure(problem.model) as counted:
            score(metric, problem, explanation)
        assert (
            counted.passes == metric.passes(problem, AnyExplainer()) == reference.passes(replace(problem, targets=problem.targets[:, :1]))
        )
    random = score(AttributionAgreement(Random()), problem, explanation)["value"]
    alone = replace(problem, targets=problem.probabilities.argmax(1)[:, None])
    maps = Random()(alone, replace(RNG, component="Random")).values[:, 0].abs().sum(1).flatten(1)
    for b, t, original, counterfactual, _ in pairs(problem, explanation):
        inside = ((counterfactual - original).abs().amax(0) > 1 / 512).flatten()
        wins = (maps[b][inside][:, None] > maps[b][~inside]).double().mean()
        assert float(random[b, t]) == pytest.approx(float(wins), abs=1e-6)


def test_the_reference_must_give_attributions_and_be_able_to():
    with pytest.raises(ConfigurationError, match=r"AttributionAgreement.reference=.*expected an explainer that gives attributions"):
        AttributionAgreement(AnyExplainer())
    problem, _ = case()
    assert "model" in AGREEMENT.unsupported(replace(problem, model=None), AnyExplainer())


# Passes


def test_passes_are_those_that_were_reported_wherever_something_was_asked():
    problem, explanation = case()
    found = score(PassesPerPair(), problem, explanation)
    for b in range(BATCH):
        for t in range(TARGETS):
            counts = [float(explanation.forward[b, t]), float(explanation.backward[b, t])]
            expected = [sum(counts), *counts] if explanation.asked[b, t] else [torch.nan] * 3
            assert [float(found[key][b, t]) for key in ("value", "forward", "backward")] == pytest.approx(expected, nan_ok=True)
    assert (explanation.asked & ~explanation.found).any()
    with pytest.raises(ValueError, match="asked"):
        PassesPerPair()(problem, explanation.take(slice(2)), RNG)


# All


class AnyExplainer(CounterfactualExplainer):
    def most_passes(self, problem):
        return Passes()

    def search(self, problem, pairs, rng):
        raise AssertionError("metrics do not search again")


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_there_is_a_number_where_one_was_found_and_none_found_is_no_error(metric):
    problem, explanation = case()
    there = explanation.asked if isinstance(metric, PassesPerPair) else explanation.found
    for value in score(metric, problem, explanation).values():
        assert torch.equal(value.isfinite(), there)
        assert value.dtype == torch.float32
    nothing = replace(explanation, found=torch.zeros_like(explanation.found), asked=torch.zeros_like(explanation.asked))
    with cost.measure(problem.model) as counted:
        found = score(metric, problem, nothing)
    assert all(value.shape == there.shape and value.isnan().all() for value in found.values())
    assert counted.forward == (BATCH if metric is AGREEMENT else 0)


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_numbers_depend_on_neither_order_nor_chunk_nor_unless_by_definition_on_other_images(metric):
    problem, explanation = case()
    whole, order = score(metric, problem, explanation), torch.randperm(BATCH, generator=torch.Generator().manual_seed(1))
    selections = [order] if metric.set_level else [order, slice(2, 3), order[:4]]
    for rows in selections:
        part = score(metric, problem.take(rows), explanation.take(rows))
        assert all(torch.allclose(part[key], whole[key][rows], rtol=1e-5, atol=1e-5, equal_nan=True) for key in whole)
    if metric.set_level:
        part = score(metric, problem.take(order[:6]), explanation.take(order[:6]))
        assert not torch.allclose(part["value"], whole["value"][order[:6]], rtol=1e-2, equal_nan=True)
    for chunk in (1, 64):
        other = score(metric, replace(problem, chunk=chunk), explanation)
        assert all(torch.allclose(other[key], whole[key], rtol=1e-5, atol=1e-5, equal_nan=True) for key in whole)


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_no_more_passes_than_declared_and_nothing_is_left_behind(metric):
    problem, explanation = case()
    given = [problem.images, problem.targets, problem.training_data.images, explanation.images, explanation.found]
    before = [value.clone() for value in given]
    with cost.measure(problem.model) as counted:
        metric(problem, explanation, RNG)
    declared = metric.passes(problem, AnyExplainer())
    assert counted.forward <= declared.forward
    assert counted.backward <= declared.backward
    assert all(torch.equal(one, other) for one, other in zip(before, given, strict=True))
    assert not any(module._forward_hooks or module.training for module in problem.model.modules())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in problem.model.parameters())


def test_a_classifier_without_a_linear_layer_has_no_features():
    problem, _ = case()
    model = nn.Sequential(nn.Conv2d(3, CLASSES, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert "no linear layer" in FrechetDistance().unsupported(replace(problem, model=model), AnyExplainer())
    assert FrechetDistance().unsupported(problem, AnyExplainer()) is None
