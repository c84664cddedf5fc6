"""Fields that are lowered until a method fits into a number of passes, and the ratio to the limit, with clocks whose results are known."""

import dataclasses

import pytest
import torch
from torch import nn

from xaibench import bench, sizing
from xaibench.bench import DIRECTIONS, RULED, Speed
from xaibench.counterfactuals.growing_spheres import GrowingSpheres
from xaibench.explainers.anchors import Anchors
from xaibench.explainers.exact_shapley import ExactShapley
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.kernel_shap import KernelShap
from xaibench.explainers.occlusion import Occlusion
from xaibench.explainers.rise import Rise
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.explainers.sobel import Sobel
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.faithfulness_estimate import FaithfulnessEstimate
from xaibench.metrics.non_sensitivity import NonSensitivity
from xaibench.metrics.pointing_game import PointingGame
from xaibench.problem import Problem
from xaibench.seeding import Rng
from xaibench.sizing import Clock
from xaibench.superpixels import Squares

SPEEDS = {name: Speed(name, chunk, RULED, 1.0, 4, 1.0) for name, chunk in zip(DIRECTIONS, (2, 4), strict=True)}


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3)).eval().requires_grad_(False)
    targets = torch.tensor([[0], [1], [2], [0]])
    return Problem(model, torch.rand(4, 3, 16, 16), targets, targets[:, 0], torch.arange(4), torch.rand(3, 3, 16, 16), chunk=4)


def declared(problem):
    one = problem.take(slice(0, 1))

    def passes(explainer):
        found = explainer.passes(one)
        return found.forward + found.backward

    return passes


@pytest.mark.parametrize(
    ("explainer", "most", "expected"),
    [
        (Rise(), 600, Rise(masks=500)),
        (Rise(), 2000, Rise()),
        (IntegratedGradients(), 60, IntegratedGradients(steps=25)),
        (Smoothgrad(of=IntegratedGradients()), 30, Smoothgrad(of=IntegratedGradients(steps=12), samples=1)),
        (Occlusion(), 10, Occlusion(patch=8, stride=4)),
        (Gradient(), 1, Gradient()),
        (KernelShap(), 24, KernelShap(samples=16)),
    ],
    ids=repr,
)
def test_whole_numbers_are_lowered_as_little_as_halving_allows(explainer, most, expected, problem):
    found = sizing.fitted(explainer, declared(problem), most)
    assert found == expected


def test_pixels_are_joined_where_no_number_helps(problem):
    one = problem.take(slice(0, 1))
    found = sizing.fitted(FaithfulnessEstimate(), lambda each: each.passes(one, Gradient()).forward, 100)
    assert found == FaithfulnessEstimate(superpixels=Squares())


def test_what_changed_is_told():
    before = Smoothgrad(of=IntegratedGradients())
    after = dataclasses.replace(before, samples=7, of=IntegratedGradients(steps=5))
    assert sizing.changed(before, after) == ["of.steps=5", "samples=7"]
    assert sizing.changed(FaithfulnessEstimate(), FaithfulnessEstimate(superpixels=Squares())) == ["superpixels=Squares(side=7)"]
    assert sizing.changed(before, before) == []


def test_as_many_images_as_fit_are_explained(problem):
    row = sizing.explainer_row(Gradient(), problem, Clock(problem, SPEEDS), 6)
    assert (row["images"], row["forward"], row["backward"], row["usual"]) == (3, 1, 1, 2)
    assert row["reduced"] is None
    assert sizing.explainer_row(Gradient(), problem, Clock(problem, SPEEDS), 100)["images"] == 4
    row = sizing.explainer_row(Rise(), problem, Clock(problem, SPEEDS), 150)
    assert (row["images"], row["forward"], row["reduced"], row["usual"]) == (1, 125, "masks=125", 2000)
    assert min(row["seconds"], row["ratio"], row["limit"]) > 0


def test_what_cannot_be_lowered_is_skipped_with_the_reason(problem):
    given = Gradient()(problem, Rng(0))
    row = sizing.metric_row(NonSensitivity(), Gradient(), problem, given, Clock(problem, SPEEDS), 100)
    assert row["skipped"] == "257 passes for one image, more than 100, and no field that lowers them further"
    assert row["usual"] == 1 + 256 * 3
    row = sizing.metric_row(PointingGame(), Gradient(), problem, given, Clock(problem, SPEEDS), 100)
    assert row["skipped"] == "needs true masks, and the dataset has none"
    many = ExactShapley(superpixels=Squares(5))
    assert sizing.explainer_row(many, problem, Clock(problem, SPEEDS), 100)["skipped"] == many.unsupported(problem)


def test_a_control_has_no_limit(problem):
    row = sizing.explainer_row(Sobel(), problem, Clock(problem, SPEEDS), 10)
    assert (row["images"], row["forward"]) == (4, 0)
    assert "ratio" not in row


def test_the_ratio_is_the_time_of_the_passes_alone_to_the_methods(problem, monkeypatch):
    """Forward takes 2 s for a chunk of two before, 4 s after: 1.5 s an image. Both ways 8 s and 16 s for four: 3 s an image."""
    times = iter([2.0, 8.0, 4.0, 16.0])
    monkeypatch.setattr(sizing, "seconds", lambda *_: next(times))
    monkeypatch.setattr(sizing, "counted", lambda call, *_: (bench.Cost(forward=40, backward=20, seconds=180.0), 2**20))
    row = sizing.measured(lambda: None, problem, Clock(problem, SPEEDS))
    assert row["limit"] == pytest.approx((40 * 1.5 + 20 * 1.5) / 4)
    assert row["ratio"] == pytest.approx(0.5)
    assert (row["seconds"], row["memory"], row["forward"], row["backward"]) == (45, 1, 10, 5)


def test_the_classifier_is_timed_between_methods_and_not_twice(problem, monkeypatch):
    spent = []
    monkeypatch.setattr(sizing, "seconds", lambda *_: spent.append(1) or 1.0)
    clock = Clock(problem, SPEEDS)
    rows = [sizing.explainer_row(explainer, problem, clock, 100) for explainer in (Gradient(), Sobel(), Gradient())]
    assert len(spent) == 2 * 3  # before the first, after it, after the second that takes passes
    assert [("ratio" in row) for row in rows] == [True, False, True]


def test_scores_of_a_metric_take_its_passes(problem):
    given = Gradient()(problem, Rng(0))
    row = sizing.metric_row(Deletion(), Gradient(), problem, given, Clock(problem, SPEEDS), 60)
    assert (row["images"], row["forward"]) == (2, 29)


def test_throughput_tries_chunks_around_the_rules(problem, monkeypatch):
    """A clock by which 2 images, channels last, are twice as fast for each image as anything else."""
    monkeypatch.setattr(sizing, "passing", lambda _problem, direction, chunk, layout: lambda: (direction, chunk, layout))
    tried = []

    def clock(call, _device, _least):
        direction, chunk, layout = call()
        tried.append(chunk)
        return chunk * (0.5 if (chunk, layout) == (2, "channels last") else 1.0) * (3 if direction == DIRECTIONS[1] else 1)

    monkeypatch.setattr(sizing, "seconds", clock)
    found = sizing.throughput(problem)
    assert set(tried) == {1, 2, 4}
    assert [(one.chunk, one.layout, one.rate, one.ruled_chunk, one.ruled_share) for one in found] == [
        (2, "channels last", 2, 4, 0.5),
        (2, "channels last", pytest.approx(2 / 3), 4, 0.5),
    ]


def test_a_field_that_cannot_be_set_is_left_alone(problem):
    found = sizing.fitted(GrowingSpheres(), lambda each: each.most_passes(problem.take(slice(0, 1))).forward, 1)
    assert ("output",) not in sizing.paths(found)
    assert (found.samples, found.output) == (1, "probability")


def test_a_bound_of_a_search_is_a_field_too(problem):
    assert sizing.fitted(Anchors(), lambda each: each.passes(problem.take(slice(0, 1))).forward, 100).budget == 97
