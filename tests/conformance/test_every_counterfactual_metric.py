"""Every metric of conf/metric/counterfactual: a number for each pair that was found, NaN elsewhere, and nothing from its neighbors."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from conformance_cases import CLASSES, RNG
from metric_cases import assert_scores, rows_of
from search_cases import METRICS, Noise, metric, none_found, problem_of, scores_of, searched, with_helpers
from torch import Tensor

from xaibench.explainers.gradient import Gradient
from xaibench.metrics.counterfactual_metric import CounterfactualMetric, Found
from xaibench.problem import Counterfactuals, Passes, Problem
from xaibench.scoring import Metric, Scores, unsupported
from xaibench.seeding import Rng

every_metric = pytest.mark.parametrize("name", METRICS)

ASKED = {"counterfactual/validity", "counterfactual/passes_per_pair"}
"""They score all pairs that are asked for."""
WITHOUT_IMAGES = {"counterfactual/passes_per_pair"}
"""They do not look at the images."""


def test_there_are_metrics():
    assert len(METRICS) >= 10


def check_metric(name: str, metric: Metric[Counterfactuals], shape: tuple[int, int, int] = (3, 12, 10)) -> None:
    problem, found = searched(shape)
    scored, nothing = scores_of(metric, problem, found), scores_of(metric, problem, none_found(found))
    value = scored.values["value"]
    if name in ASKED:
        assert torch.equal(value.isnan(), ~found.asked)
        assert torch.equal(nothing.values["value"].isnan(), ~found.asked)
    else:
        assert value.isnan()[~found.found].all()
        assert value[found.found].isfinite().any()
        assert all(score.isnan().all() for score in nothing.values.values())


def check_independence(metric: Metric[Counterfactuals]) -> None:
    problem, found = searched()
    problem, close = with_helpers(metric, problem, Noise()), {"rtol": 1e-4, "atol": 2e-6}
    whole = metric(problem, found, RNG)
    order = torch.randperm(len(problem.images), generator=torch.Generator().manual_seed(0))
    assert_scores(metric(problem.take(order), found.take(order), RNG), rows_of(whole, order), **close)
    assert_scores(metric(dataclasses.replace(problem, chunk=5), found, RNG), rows_of(whole, slice(None)), **close)
    if not metric.set_level:
        for rows in (torch.tensor([2]), slice(1, 4)):
            assert_scores(metric(problem.take(rows), found.take(rows), RNG), rows_of(whole, rows), **close)


@every_metric
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 10)])
def test_scores_what_was_found_and_nothing_else(name, shape):
    check_metric(name, metric(name), shape)


@every_metric
def test_batch_split_order_neighbors_and_chunk_change_nothing(name):
    check_independence(metric(name))


@every_metric
def test_a_wrong_shape_is_refused(name):
    problem, found = searched()
    problem = with_helpers(metric(name), problem, Noise())
    for images in (found.images[:, :1], found.images[..., 1:], found.images[:-1], found.images[:, :, 0]):
        if name not in WITHOUT_IMAGES:
            with pytest.raises(ValueError, match=r"Counterfactuals\.images of shape"):
                metric(name)(problem, dataclasses.replace(found, images=images), RNG)
    with pytest.raises(ValueError, match=r"Counterfactuals\..* of shape"):
        metric(name)(dataclasses.replace(problem, targets=problem.targets[:, 1:]), found, RNG)


@every_metric
def test_an_image_that_is_not_finite_leaves_the_others_alone(name):
    problem, found = searched()
    problem = with_helpers(metric(name), problem, Noise())
    place = tuple(int(part[0]) for part in (~found.found & found.asked).nonzero(as_tuple=True))
    broken = dataclasses.replace(found, images=found.images.clone())
    broken.images[place] = torch.nan
    assert_scores(metric(name)(problem, broken, RNG), rows_of(metric(name)(problem, found, RNG), slice(None)))


@every_metric
def test_attributions_are_not_scored(name):
    problem = with_helpers(metric(name), problem_of(), Noise())
    assert unsupported(metric(name), Gradient(), problem) == "scores counterfactuals, and the explainer gives attributions"


@every_metric
def test_without_a_model_it_says_why_not_or_needs_none(name):
    problem, found = searched()
    alone = dataclasses.replace(with_helpers(metric(name), problem, Noise()), model=None)
    reason = metric(name).unsupported(alone, Noise())
    if reason is None:
        assert metric(name)(alone, found, RNG).values["value"].shape == problem.targets.shape
    else:
        assert reason.strip()


@every_metric
def test_without_probabilities_the_predicted_class_is_not_known(name):
    problem, found = searched()
    problem = dataclasses.replace(with_helpers(metric(name), problem, Noise()), probabilities=None)
    try:
        metric(name)(problem, found, RNG)
    except ValueError as error:
        assert "probabilities" in str(error)


def test_no_two_metrics_give_the_same_numbers():
    problem, found = searched()
    values = {name: scores_of(metric(name), problem, found).values["value"] for name in METRICS}
    values["renamed"] = scores_of(Renamed(), problem, found).values["value"]
    values["brightness"] = scores_of(Brightness(), problem, found).values["value"]
    pairs = {
        frozenset(pair)
        for pair in itertools.combinations(values, 2)
        if torch.allclose(values[pair[0]], values[pair[1]], rtol=1e-4, atol=1e-6, equal_nan=True)
    }
    assert pairs == {frozenset({"renamed", "brightness"})}


@dataclasses.dataclass(frozen=True)
class Brightness(CounterfactualMetric):
    """Mean of the counterfactual."""

    higher_is_better: ClassVar = None

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        return {"value": found.counterfactuals.mean(dim=(1, 2, 3))}


@dataclasses.dataclass(frozen=True)
class Renamed(Brightness):
    """The same under another name."""


@dataclasses.dataclass(frozen=True)
class Filling(Brightness):
    """A number where nothing was found."""

    def __call__(self, problem: Problem, explanation: Counterfactuals, rng: Rng) -> Scores:
        return Scores({"value": super().__call__(problem, explanation, rng).values["value"].nan_to_num(0.0)})


@dataclasses.dataclass(frozen=True)
class Needing(Brightness):
    """Cannot do without a pair."""

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        assert len(found.targets)
        return super().values(problem, found, rng)


@dataclasses.dataclass(frozen=True)
class Wasteful(Brightness):
    """Takes a pass that it does not declare."""

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        problem.classifier(problem.images[:1])
        return super().values(problem, found, rng)


@dataclasses.dataclass(frozen=True)
class Altering(Brightness):
    """Changes what it is given."""

    def __call__(self, problem: Problem, explanation: Counterfactuals, rng: Rng) -> Scores:
        explanation.forward.add_(1)
        return super().__call__(problem, explanation, rng)


@dataclasses.dataclass(frozen=True)
class Double(Brightness):
    """Gives double precision."""

    def __call__(self, problem: Problem, explanation: Counterfactuals, rng: Rng) -> Scores:
        return Scores({"value": super().__call__(problem, explanation, rng).values["value"].double()})


@pytest.mark.parametrize("mutant", [Filling, Needing, Wasteful, Altering, Double])
def test_the_check_rejects_mutants(mutant):
    check_metric("brightness", Brightness())
    with pytest.raises(AssertionError):
        check_metric("brightness", mutant())
    searched.cache_clear()


@dataclasses.dataclass(frozen=True)
class Averaging(Brightness):
    """Looks at the other pairs."""

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        value = super().values(problem, found, rng)["value"]
        return {"value": value - value.mean()}


@dataclasses.dataclass(frozen=True)
class Placing(Brightness):
    """Depends on the row."""

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        return {"value": super().values(problem, found, rng)["value"] + found.row}


@dataclasses.dataclass(frozen=True)
class Chunked(Brightness):
    """Depends on the chunk."""

    def values(self, problem: Problem, found: Found, rng: Rng) -> Mapping[str, Tensor]:
        return {"value": super().values(problem, found, rng)["value"] + problem.chunk % 2}


@pytest.mark.parametrize("mutant", [Averaging, Placing, Chunked])
def test_the_check_of_independence_rejects_mutants(mutant):
    check_independence(Brightness())
    with pytest.raises(AssertionError):
        check_independence(mutant())


def test_what_declares_no_passes_takes_none_in_the_base():
    problem, _ = searched()
    assert Brightness().passes(problem, Noise()) == Passes()
    assert problem.targets.max() < CLASSES
