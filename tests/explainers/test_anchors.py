"""Anchors on classifiers whose rule is known; every check must reject mutants."""

import dataclasses
import importlib.util
import logging

import pytest
import torch
from explainer_cases import RNG, Explain, all_classes, conv_problem, make_problem, negated, next_target, rejects
from torch import Tensor, nn

from xaibench import cost
from xaibench.adapters import alibi
from xaibench.explainers.anchors import Anchors
from xaibench.explainers.random import Random
from xaibench.problem import Problem
from xaibench.superpixels import Slic, Squares

installed = pytest.mark.skipif(importlib.util.find_spec("alibi") is None, reason="alibi, an optional library, is not installed")

NINE = Anchors(superpixels=Squares(side=3), batch_size=30)


class Corners(nn.Module):
    """Class 1 where the top left third and the bottom right third are bright; else class 0."""

    def forward(self, images: Tensor) -> Tensor:
        both = (images[:, :, :3, :3].amin((1, 2, 3)) > 0.5) & (images[:, :, 6:, 6:].amin((1, 2, 3)) > 0.5)
        return torch.stack([~both, both], dim=1).float()


def corners(channels: int = 1) -> Problem:
    """A bright image, of class 1, against dark ones."""
    images = torch.full((1, channels, 9, 9), 0.9)
    return make_problem(Corners(), images, all_classes(1, 2), 0.2 * torch.rand(4, channels, 9, 9))


def check_corners(explain: Explain) -> None:
    expected = torch.zeros(9, 9)
    expected[:3, :3] = expected[6:, 6:] = 1.0
    for channels in (1, 3):
        values = explain(corners(channels), RNG).values
        assert torch.equal(values, torch.stack([torch.zeros(9, 9), expected])[None, :, None])


@installed
def test_the_anchor_is_the_superpixels_that_the_rule_needs():
    check_corners(NINE)
    mutants = [dataclasses.replace(NINE, superpixels=Squares(side=2)), dataclasses.replace(NINE, threshold=0.2)]
    for mutant in (*mutants, negated(NINE), next_target(NINE), Random()):
        rejects(check_corners, mutant)


@installed
def test_slic_regions_of_each_image():
    problem = corners()
    problem.images[:, :, 3:6] = 0.1
    problem.images[:, :, :, 3:6] = 0.1
    explainer = Anchors(superpixels=Slic(regions=9), batch_size=30)
    regions = explainer.superpixels(problem.images)[0]
    mask = explainer(problem, RNG).values[0, 1, 0]
    assert 0 < mask.mean() < 1
    assert all(len(mask[regions == region].unique()) == 1 for region in regions.unique())
    assert (mask[:3, :3].amax(), mask[6:, 6:].amax()) == (1, 1)


@installed
def test_a_prediction_that_does_not_depend_on_the_image_has_an_empty_anchor():
    problem = dataclasses.replace(corners(), images=torch.zeros(1, 1, 9, 9))

    def check(explain: Explain) -> None:
        assert torch.equal(explain(problem, RNG).values, torch.zeros(1, 2, 1, 9, 9))

    check(dataclasses.replace(NINE, batch_size=100))
    # 30 samples, though all agree, do not tell that the empty rule's precision is above the threshold.
    rejects(check, NINE)


@installed
def test_a_spent_budget_gives_nan_for_the_predicted_class_only():
    problem = corners()
    for budget in (2, 40, 100):
        explainer = dataclasses.replace(NINE, budget=budget)
        with cost.measure(problem.model) as counted:
            values = explainer(problem, RNG).values
        assert counted.forward <= explainer.passes(problem).forward == budget
        assert values[:, 1].isnan().all()
        assert torch.equal(values[:, 0], torch.zeros(1, 1, 9, 9))


@installed
def test_all_targets_share_the_search_and_no_more_than_a_chunk_goes_through_the_model_at_once():
    problem = dataclasses.replace(corners(), chunk=16)
    sizes: list[int] = []
    handle = problem.classifier.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    NINE(problem, RNG)
    handle.remove()
    assert max(sizes) == 16
    assert sum(sizes) < NINE.passes(problem).forward == NINE.budget
    with cost.measure(problem.model) as counted:
        NINE(dataclasses.replace(problem, targets=problem.targets[:, 1:]), RNG)
    assert counted.forward == sum(sizes)


@installed
def test_what_alibi_says_about_misses_is_kept_quiet_and_its_logger_as_it_was(caplog):
    problem = conv_problem((1, 8, 8))
    impossible = Anchors(superpixels=Squares(side=2), batch_size=20, threshold=0.9999)
    level = logging.getLogger("alibi").level
    assert impossible(problem, RNG).values.isfinite().all()
    assert not [record for record in caplog.records if record.name.startswith("alibi")]
    assert logging.getLogger("alibi").level == level


def test_what_is_not_supported(monkeypatch):
    problem = corners()
    assert (
        NINE.unsupported(dataclasses.replace(problem, background=problem.background[:0])) == "needs background images, and there are none"
    )
    monkeypatch.setattr(alibi.importlib.util, "find_spec", lambda name: None)
    assert NINE.unsupported(problem) == "needs alibi: pip install 'xaibench[alibi]'"
    assert NINE.unsupported(dataclasses.replace(problem, model=None)) == "needs a model, and only predictions are known"
