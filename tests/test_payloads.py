"""Explanations of both kinds through the store and back."""

import dataclasses

import pytest
import torch

from xaibench import payloads, searching
from xaibench.datasets.digits import Digits
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explaining import FLAGS
from xaibench.problem import Attributions, Counterfactuals, Problem
from xaibench.store import Artifact, Store

CPU = torch.device("cpu")


def counterfactuals() -> Counterfactuals:
    draw = torch.Generator().manual_seed(0)
    asked = torch.rand(4, 3, generator=draw) < 0.8
    found = asked & (torch.rand(4, 3, generator=draw) < 0.5)
    counts = torch.randint(0, 2**40, (2, 4, 3), generator=draw)
    return Counterfactuals(torch.rand(4, 3, 1, 8, 8, generator=draw), found, asked, *counts)


def attributions(total: bool) -> Attributions:
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(4, 3, 1, 8, 8, generator=draw)
    values[2, 1] = 0.0
    return Attributions(values, values.sum(dim=(2, 3, 4)) + 0.5 if total else None)


def through(store: Store, explanation: Attributions | Counterfactuals) -> Attributions | Counterfactuals:
    """Written, and read again by another store."""
    store.get("explain", "0" * 64, {"stage": "explain"}, lambda: Artifact(payloads.tensors(explanation)))
    stored = Store(store.root).read("explain", "0" * 64)
    assert stored is not None
    return payloads.restored(stored.tensors, CPU, again)


def again(problem: Problem) -> Attributions:
    raise AssertionError


@pytest.mark.parametrize("explanation", [counterfactuals(), attributions(False), attributions(True)])
def test_an_explanation_comes_back_as_it_was(explanation, tmp_path):
    found = through(Store(tmp_path), explanation)
    assert type(found) is type(explanation)
    assert found.again is again
    for field in dataclasses.fields(explanation):
        before, after = getattr(explanation, field.name), getattr(found, field.name)
        if isinstance(before, torch.Tensor):
            assert before.dtype == after.dtype
            assert torch.equal(before, after)
        else:
            assert field.name == "again" or after is before is None


def test_what_is_stored_beside_them():
    stored = payloads.tensors(counterfactuals())
    assert stored.keys() == {*searching.TENSORS, "flag"}
    assert torch.equal(stored["flag"] == 0, stored["found"])
    assert torch.equal(stored["flag"] == FLAGS.index("not asked for"), ~stored["asked"])
    assert payloads.tensors(attributions(False)).keys() == {"values", "flag"}
    complete = payloads.tensors(attributions(True))
    assert complete.keys() == {"values", "flag", "total", "completeness_error"}
    torch.testing.assert_close(complete["completeness_error"], torch.full((4, 3), 0.5), rtol=0, atol=1e-5)
    assert FLAGS[int(complete["flag"][2, 1])] == "all zero"


def test_each_kind_is_explained_in_its_own_way(monkeypatch):
    class Searching:
        gives = Counterfactuals

    monkeypatch.setattr("xaibench.searching.searched", lambda *given: ("searched", *given))
    monkeypatch.setattr("xaibench.explaining.explained", lambda *given: ("explained", *given))
    for explainer, way in ((Searching(), "searched"), (Gradient(), "explained"), (IntegratedGradients(), "explained")):
        assert payloads.explained(explainer, "problem", "rng") == (way, explainer, "problem", "rng")
    assert Digits.shape == (1, 8, 8)
