"""Every metric in conf/, on networks of conf/ and on grey and color images: it gives what it declares, or says why not."""

import copy
import dataclasses
import itertools

import pytest
import torch
from conformance_cases import CLASSES, MODELS, RNG, SHAPES, make_problem, names
from metric_cases import MAPS, assert_scores, check_metric, explanation, lively, metrics, mosaic, rows_of, supported, usual, with_helpers

from xaibench.metrics.deletion import Deletion
from xaibench.problem import Attributions, Passes, Problem
from xaibench.scoring import Metric, Requires, Scores, scored
from xaibench.seeding import Rng

UNDER = [(model, shape) for model in MODELS for shape in SHAPES]
every_metric = pytest.mark.parametrize("name", names("metric"))
DECLARED_ALIASES: set[frozenset[str]] = set()
"""Pairs that are meant to give the same numbers at their defaults. They count once in every comparison."""


@every_metric
def test_scores_every_kind_of_map_or_says_why_not(name):
    problems = [make_problem(*under) for under in [*UNDER, ("additive", (3, 12, 10))]]
    done = [check_metric(metrics()[name], problem, kind) for problem in [*problems, mosaic(make_problem())] for kind in MAPS]
    assert any(done)


@every_metric
def test_a_map_with_nan_leaves_the_scores_of_other_images_alone(name):
    metric, problem, clean = usual(name)
    broken = dataclasses.replace(clean, values=clean.values.clone())
    broken.values[0, 1, 0, 3, 3] = torch.nan
    expected, found = metric(problem, clean, RNG), metric(problem, broken, RNG)
    if not metric.set_level:
        for score, value in found.values.items():
            torch.testing.assert_close(value[1:], expected.values[score][1:], rtol=1e-5, atol=1e-6, equal_nan=True)
            torch.testing.assert_close(value[0, :1], expected.values[score][0, :1], rtol=1e-5, atol=1e-6, equal_nan=True)
    assert found.values["value"][0, 1].isnan()


@every_metric
def test_all_zero_and_constant_maps_have_defined_scores(name):
    metric, problem, found = usual(name)
    for value in (0.0, 0.5):
        constant = dataclasses.replace(found, values=torch.full_like(found.values, value))
        scores = metric(problem, constant, RNG)
        assert all(not score.isinf().any() for score in scores.values.values())
        again = metric(problem, constant, RNG)
        assert all(torch.equal(score.nan_to_num(-7), again.values[key].nan_to_num(-7)) for key, score in scores.values.items())


@every_metric
def test_a_wrong_shape_is_refused(name):
    metric, problem, found = usual(name)
    for values in (found.values[:, :1], found.values[..., 1:], found.values[:-1], found.values[:, :, 0]):
        with pytest.raises(ValueError, match=r"Attributions\.values of shape"):
            metric(problem, dataclasses.replace(found, values=values), RNG)


def exact(problem: Problem) -> Problem:
    """The problem in float64, where outputs that are equal do not differ by rounding, and so do not change places in a ranking."""
    model = copy.deepcopy(problem.model).double()
    return dataclasses.replace(problem, model=model, images=problem.images.double(), background=problem.background.double())


RANK_BASED = {"monotonicity_correlation", "mufidelity"}
"""They rank outputs."""


@pytest.mark.parametrize("name", [name for name in names("metric") if not metrics()[name].set_level])
def test_batch_split_order_neighbors_and_chunk_change_nothing(name):
    metric, problem, found = usual(name, batch=4)
    problem = exact(problem) if name in RANK_BASED else problem
    whole, close = metric(problem, found, RNG), {"rtol": 1e-4, "atol": 2e-6}
    for rows in (torch.tensor([3, 0, 2, 1]), torch.tensor([2]), slice(1, 3)):
        assert_scores(metric(problem.take(rows), found.take(rows), RNG), rows_of(whole, rows), **close)
    assert_scores(metric(dataclasses.replace(problem, chunk=7), found, RNG), rows_of(whole, slice(None)), **close)
    turned = dataclasses.replace(problem, targets=problem.targets.flip(1), masks=problem.masks.flip(1))
    flipped = dataclasses.replace(found, values=found.values.flip(1), total=None if found.total is None else found.total.flip(1))
    assert_scores(metric(turned, flipped, RNG), {key: v.flip(1) for key, v in rows_of(whole, slice(None)).items()}, **close)


@every_metric
def test_one_image_with_one_class_has_a_score(name):
    metric, problem, found = usual(name, batch=1, targets=1)
    assert metric(problem, found, RNG).values["value"].shape == (1, 1)


@every_metric
def test_without_a_model_it_says_why_not_or_needs_none(name):
    metric, problem, found = usual(name)
    alone = dataclasses.replace(problem, model=None)
    reason = metric.unsupported(alone, MAPS["complete"])
    if reason is None:
        assert metric.passes(alone, MAPS["complete"]) == Passes()
        assert not metric.requires - {Requires.MASKS}
        assert metric(alone, found, RNG).values["value"].shape == problem.targets.shape
    else:
        assert reason.strip()


@every_metric
def test_what_it_requires_is_what_it_uses(name):
    metric, problem, found = usual(name)
    assert Requires.MASKS not in metric.requires or "masks" in metric.unsupported(dataclasses.replace(problem, masks=None), MAPS["signed"])
    if Requires.MASKS not in metric.requires:
        assert supported(metric, dataclasses.replace(problem, masks=None), "complete")
    if Requires.EXPLAINER not in metric.requires:
        metric(problem, dataclasses.replace(found, again=None), RNG)


def test_all_classes_can_be_asked_for_at_once():
    problem = make_problem("linear", targets=CLASSES, batch=2)
    for metric in metrics().values():
        check_metric(metric, problem, "complete")


@dataclasses.dataclass(frozen=True)
class Rescored(Deletion):
    """Deletion under another name."""

    def __call__(self, problem: Problem, explanation: Attributions, rng: Rng) -> Scores:
        return super().__call__(problem, explanation, rng)


def headlines(metric: Metric) -> torch.Tensor:
    problem = lively(make_problem("mlp"))
    given = []
    for kind in ("signed", "one channel", "complete"):
        whole = with_helpers(metric, problem, kind)
        found = dataclasses.replace(explanation(kind, problem), total=torch.ones(problem.targets.shape))
        given.append(metric(whole, found, RNG).values["value"] if supported(metric, whole, kind) else torch.full((3, 2), torch.nan))
    return torch.stack(given)


def test_no_two_metrics_give_the_same_numbers():
    found = {name: headlines(metric) for name, metric in (metrics() | {"rescored": Rescored()}).items()}
    scored_here = {name: value for name, value in found.items() if not value.isnan().all()}
    pairs = {
        frozenset((one, other))
        for one, other in itertools.combinations(scored_here, 2)
        if torch.allclose(scored_here[one], scored_here[other], rtol=1e-4, atol=1e-6, equal_nan=True)
    }
    assert frozenset({"deletion", "rescored"}) in pairs
    assert {pair for pair in pairs if "rescored" not in pair} == DECLARED_ALIASES


@dataclasses.dataclass(frozen=True)
class Wasteful(Deletion):
    """Takes a pass that it does not declare."""

    def __call__(self, problem: Problem, explanation: Attributions, rng: Rng) -> Scores:
        problem.classifier(problem.images[:1])
        return super().__call__(problem, explanation, rng)


@dataclasses.dataclass(frozen=True)
class Averaging(Deletion):
    """Gives one number for the batch."""

    def __call__(self, problem: Problem, explanation: Attributions, rng: Rng) -> Scores:
        return Scores({"value": super().__call__(problem, explanation, rng).values["value"].mean(0)})


@dataclasses.dataclass(frozen=True)
class Altering(Deletion):
    """Changes the map that it is given."""

    def __call__(self, problem: Problem, explanation: Attributions, rng: Rng) -> Scores:
        explanation.values.neg_()
        return super().__call__(problem, explanation, rng)


@pytest.mark.parametrize("mutant", [Wasteful, Averaging, Altering])
def test_the_check_rejects_mutants(mutant):
    with pytest.raises((AssertionError, RuntimeError)):
        check_metric(mutant(steps=3), make_problem(), "signed")


def test_blocks_give_the_scores_of_the_whole(monkeypatch):
    problem, found = make_problem(batch=5), explanation("signed", make_problem(batch=5))
    whole = Deletion(steps=4)(problem, found, RNG)
    monkeypatch.setattr("xaibench.explaining.BLOCK_IMAGES", 2)
    parts = scored(Deletion(steps=4), problem, found, RNG)
    assert_scores(parts, rows_of(whole, slice(None)))
    assert torch.equal(parts.fractions, whole.fractions)
