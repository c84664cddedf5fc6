"""What Quantus is asked for: every class of it, at our settings, with our draws; and the table of the comparison."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import xaibench.metric_parity.__main__ as study
from xaibench.explainers.gradient import Gradient
from xaibench.metric_parity import definitions as definitions
from xaibench.metric_parity.calls import intensity, softmax, steps
from xaibench.metric_parity.comparisons import COMPARISONS, Comparison, case_of
from xaibench.metric_parity.definitions import DECISIONS
from xaibench.metric_parity.peers import PEERS
from xaibench.metric_parity.replay import HOLE, replay
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.max_sensitivity import MaxSensitivity
from xaibench.metrics.mprt import Mprt
from xaibench.metrics.random_logit import RandomLogit
from xaibench.problem import Problem
from xaibench.removal import Blur, Constant
from xaibench.seeding import Rng

RNG = Rng(0, 0, "peers")


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)).eval().requires_grad_(False)
    targets = torch.tensor([[0], [2], [1]])
    return Problem(model, torch.rand(3, 1, 8, 8), targets, targets[:, 0], torch.arange(3), torch.rand(2, 1, 8, 8))


def test_every_metric_of_quantus_is_compared():
    library = pytest.importorskip("quantus")
    families = library.AVAILABLE_METRICS.values()
    compared = {peer.name.split(",")[0] for comparison in COMPARISONS for peer in PEERS[type(comparison.metric).__name__]}
    names = {metric.__name__ for family in families for metric in family.values()}
    aliases = {"ModelParameterRandomisation", "BatchSufficiency"}  # earlier names of MPRT and Sufficiency
    assert names - compared - aliases == set()
    assert len(compared) >= 35


def test_what_differs_has_a_reason_and_a_definition():
    peers = [peer for peers in PEERS.values() for peer in peers]
    assert {peer.name for peer in peers if peer.differs} == set(DECISIONS)


def test_settings_that_quantus_has_not_are_refused(problem):
    case = case_of(Comparison(Deletion(), Gradient()), problem)
    assert (intensity(Deletion(removal=Constant(0.3))), softmax(Deletion()), steps(Deletion(steps=8), case)) == (0.3, True, 8)
    calls = (lambda: intensity(Deletion(removal=Blur())), lambda: softmax(Deletion(output="log_odds")), lambda: steps(Deletion(), case))
    for refused in calls:
        with pytest.raises(ValueError, match="to compare with Quantus"):
            refused()


def test_a_replay_holds_what_was_sent_in_its_order(problem):
    case = case_of(Comparison(Deletion(), Gradient()), problem)
    metric = Deletion(steps=4, removal=Constant(HOLE))
    holes = replay(metric, case, RNG).holes()
    assert holes.sum(2).tolist() == [[16, 32, 48, 64]] * 3
    most = case.explanation.values[:, 0].flatten(1).argsort(1, descending=True)[:, :16]
    assert holes[:, 0].gather(1, most).all()


def test_a_replay_holds_copies_networks_and_classes(problem):
    case = case_of(Comparison(MaxSensitivity(), Gradient()), problem)
    copies = replay(MaxSensitivity(samples=5, radius=0.1), case, RNG)
    moved = (copies.inputs - problem.images[:, None]).abs().flatten(2).amax(2)
    assert copies.inputs.shape == (3, 5, 1, 8, 8)
    assert ((moved > 0.05) & (moved <= 0.1001)).all()
    assert copies.models == []
    networks = replay(Mprt(), case, RNG).models
    whole = list(case.problem.classifier.parameters())
    changed = [[not torch.equal(one, other) for one, other in zip(net.parameters(), whole, strict=True)] for net in networks]
    assert changed == [[True] * 4, [False, False, True, True]]
    found = replay(RandomLogit(similarity="spearman"), case, RNG).classes
    assert (found != problem.targets[:, 0]).all()


def test_case_explains_again_as_the_explainer_does(problem):
    case = case_of(Comparison(MaxSensitivity(), Gradient()), problem)
    other = torch.tensor([1, 1, 0])
    expected = Gradient()(dataclasses.replace(problem, targets=other[:, None]), RNG).values[:, 0]
    assert torch.equal(case.explain(problem.classifier, problem.images, other), expected)


def test_definitions_on_a_linear_model():
    """With f = w x and relevance w x everything is known."""
    weight, image = torch.tensor([4.0, 3.0, 2.0, 1.0]).reshape(1, 2, 2), torch.ones(1, 2, 2)
    relevance = (weight * image)[0]

    def output(altered):
        return float((weight * altered).sum())

    curve = definitions.flipping(output, image, relevance, 4, 0.0)
    assert curve == [10, 6, 3, 1, 0]
    assert definitions.area(curve) == pytest.approx((10 / 2 + 6 + 3 + 1) / 4)
    others = [torch.rand(1, 2, 2) for _ in range(3)]
    assert definitions.infidelity(output, image, weight[0], others) == pytest.approx(0, abs=1e-10)
    assert definitions.infidelity(output, image, 2 * weight[0], [torch.zeros(1, 2, 2)]) == pytest.approx(100)
    assert definitions.sensitivity_n(output, image, relevance, [[0, 1], [1, 2], [2, 3]], 0.0) == pytest.approx(1)
    assert definitions.sensitivity_n(output, image, -relevance, [[0, 1], [1, 2], [2, 3]], 0.0) == pytest.approx(-1)
    assert definitions.monotonicity(output, image, relevance, 4, 0.0) == 1
    assert definitions.monotonicity(lambda altered: -output(altered), image, relevance, 4, 0.0) == 0
    regions = torch.tensor([[0, 0], [1, 1]])
    assert definitions.irof(output, image, relevance, regions, 0.0) == pytest.approx(1 - (1 / 2 + 0.3) / 2)
    assert definitions.agreement([5, 5, 7], lambda one, other: True) == [0.5, 0.5, 0.0]
    assert np.isnan(definitions.agreement([5, 5], lambda one, other: False)).all()


def test_the_table_names_what_was_not_expected_and_gives_each_reason_once():
    common = {"found": "different", "times_faster": np.nan}
    first = {"quantus": "A", "ours": "A()", "expected": "equal", "difference": 0.1, "reason": None}
    second = {"quantus": "B", "ours": "B()", "expected": "different", "difference": 2.0, "our_error": 1e-8, "quantus_error": 0.5}
    rows = [common | first, common | second | {"times_faster": 12.34, "ours_limits": 1.1, "quantus_limits": 5.0, "reason": "It rounds."}]
    text = study.markdown(pd.DataFrame([*rows, rows[1]]))
    assert "| A | `A()` | different (not expected) | 0.1 |  |  |  |  |  |" in text
    assert "| B | `B()` | different | 2 | 1e-08 | 0.5 | 12.3 | 1.1 | 5.0 |" in text
    assert text.count("It rounds.") == 1
