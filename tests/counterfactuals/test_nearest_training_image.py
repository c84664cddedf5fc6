"""The nearest training image against brute force; ties, classes without images, and a classifier that never gives the target."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from counterfactual_cases import RNG, constant_problem, conv_pair_problem, counted
from torch import nn

from xaibench.counterfactuals import nearest_training_image
from xaibench.counterfactuals.nearest_training_image import NearestTrainingImage
from xaibench.problem import Passes, Split

BY_LABEL = NearestTrainingImage(by="label")


def trained_problem(size=80, **more):
    """Training images whose labels the classifier often contradicts."""
    problem = conv_pair_problem(**more)
    draw = torch.Generator().manual_seed(8)
    images = torch.rand(size, *problem.images.shape[1:], generator=draw)
    labels = problem.model(images).argmax(1)
    wrong = torch.rand(size, generator=draw) < 0.6
    labels[wrong] = torch.randint(4, (size,), generator=draw)[wrong]
    return replace(problem, training_data=Split(images, labels))


def brute_force(problem, image, target, limit):
    """Row of the nearest image with the label that is predicted as it, -1 where there is none, and how many were asked about."""
    data = problem.training_data
    rows = [row for row in range(len(data.labels)) if data.labels[row] == target]
    rows = sorted(rows, key=lambda row: (float((data.images[row] - image).double().square().sum()), row))[:limit]
    for number, row in enumerate(rows, start=1):
        if problem.model(data.images[row][None]).argmax() == target:
            return row, number
    return -1, len(rows)


def check_brute_force(limit):
    problem = trained_problem()
    found, spent = counted(NearestTrainingImage(most_candidates=limit), problem)
    for row, column in found.asked.nonzero().tolist():
        best, asked = brute_force(problem, problem.images[row], problem.targets[row, column], limit)
        assert found.found[row, column] == (best >= 0)
        assert found.forward[row, column] == asked
        if best >= 0:
            assert torch.equal(found.images[row, column], problem.training_data.images[best])
    assert spent == Passes(int(found.forward.sum()))
    assert found.found.any()


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_it_is_that_of_brute_force(limit):
    check_brute_force(limit)


def test_brute_force_rejects_other_images(monkeypatch):
    nearest = nearest_training_image.nearest
    for mutant in (
        lambda images, data, k, labels, wanted: nearest(images, data, k),
        lambda images, data, k, labels, wanted: nearest(1 - images, data, k, labels, wanted),
        lambda images, data, k, labels, wanted: tuple(part.flip(1) for part in nearest(images, data, k, labels, wanted)),
    ):
        monkeypatch.setattr(nearest_training_image, "nearest", mutant)
        with pytest.raises(AssertionError):
            check_brute_force(2)


def test_by_label_the_classifier_is_not_asked_and_decides_afterwards():
    problem = trained_problem()
    found, spent = counted(BY_LABEL, problem)
    assert spent == Passes()
    assert (found.forward == 0).all()
    data = problem.training_data
    for row, column in found.asked.nonzero().tolist():
        target = problem.targets[row, column]
        away = (data.images - problem.images[row]).flatten(1).norm(dim=1)
        expected = data.images[torch.where(data.labels == target, away, torch.inf).argmin()]
        assert torch.equal(found.images[row, column], expected)
        assert found.found[row, column] == (problem.model(expected[None]).argmax() == target)
    assert (found.asked & ~found.found).any()


class Mean(nn.Module):
    """Class 1 for images whose first value is above .5."""

    def forward(self, images):
        return torch.stack([0.5 - images[:, 0, 0, 0], images[:, 0, 0, 0] - 0.5], dim=1)


@pytest.mark.parametrize("explainer", [NearestTrainingImage(), BY_LABEL])
def test_of_equally_near_images_the_first_is_taken(explainer):
    base = conv_pair_problem(shape=(1, 8, 8), batch=1, targets=1)
    first, second = torch.full((2, 1, 8, 8), 0.25).unbind()
    first[0, 0, 0] = second[0, 0, 0] = 1.0
    first[0, 3, 3], second[0, 5, 5] = 0.5, 0.5
    for data in (torch.stack([first, second]), torch.stack([second, first])):
        problem = replace(
            base,
            model=Mean(),
            images=torch.full((1, 1, 8, 8), 0.25),
            targets=torch.ones(1, 1, dtype=torch.int64),
            training_data=Split(data, torch.tensor([1, 1])),
        )
        found = explainer(problem, RNG)
        assert found.found.all()
        assert torch.equal(found.images[0, 0], data[0])


@pytest.mark.parametrize("explainer", [NearestTrainingImage(), BY_LABEL])
def test_a_class_without_training_images_is_not_found(explainer):
    problem = trained_problem()
    data = problem.training_data
    there = data.labels != 2
    problem = replace(problem, training_data=Split(data.images[there], data.labels[there]))
    found = explainer(problem, RNG)
    absent = found.asked & (problem.targets == 2)
    assert absent.any()
    assert not found.found[absent].any()
    assert (found.forward[absent] == 0).all()
    originals = problem.images[:, None].expand_as(found.images)
    assert torch.equal(found.images[absent], originals[absent])


@pytest.mark.parametrize("logits", [(1.0, 0.0, 0.0), (torch.nan, 0.0, 0.0)])
def test_where_the_target_is_never_given_nothing_is_found_within_the_limit(logits):
    problem = constant_problem(logits)
    labels = torch.arange(30) % 3
    problem = replace(problem, training_data=Split(torch.rand(30, *problem.images.shape[1:]), labels))
    for limit, expected in ((4, 4), (50, 10)):
        found, spent = counted(NearestTrainingImage(most_candidates=limit), problem)
        assert not found.found.any()
        assert (found.forward[found.asked] == expected).all()
        assert spent.forward == expected * found.asked.sum()


def test_without_training_images_it_tells_so():
    problem = conv_pair_problem()
    assert NearestTrainingImage().unsupported(problem) == "needs training images, and there are none"
    assert NearestTrainingImage().unsupported(trained_problem()) is None
    assert "needs a model" in NearestTrainingImage().unsupported(replace(problem, model=None))


def test_a_pair_does_not_depend_on_batch_order_neighbors_or_chunk():
    problem = trained_problem(batch=6)
    together = NearestTrainingImage()(problem, RNG)
    order = torch.tensor([5, 0, 2])
    for part, rows in ((problem.take(order), order), (replace(problem, chunk=2), slice(None)), (problem.take(slice(2, 3)), slice(2, 3))):
        alone, expected = NearestTrainingImage()(part, RNG), together.take(rows)
        assert all(torch.equal(getattr(alone, name), getattr(expected, name)) for name in ("images", "found", "forward"))


def test_the_confidence_that_is_asked_for_is_reached():
    problem = trained_problem()
    low, high = (NearestTrainingImage(confidence=confidence)(problem, RNG) for confidence in (0.0, 0.95))
    probabilities = problem.model(high.images.flatten(0, 1)).softmax(1).view(*problem.targets.shape, -1)
    assert (probabilities.gather(2, problem.targets[..., None])[..., 0][high.found] >= 0.95).all()
    assert high.forward.sum() > low.forward.sum()
