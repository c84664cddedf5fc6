"""The metrics that are read off removal curves, against loops over the papers' definitions, and what holds for all maps."""

from dataclasses import replace

import pytest
import torch
from curve_cases import METRICS, loop_scores, wide_problem
from ranking_cases import AREA_FAULTS, CURVE_FAULTS, RNG, mutants, random_attributions

from xaibench import curves
from xaibench.metrics.abpc import Abpc
from xaibench.metrics.aopc import Aopc
from xaibench.metrics.comprehensiveness import Comprehensiveness
from xaibench.metrics.irof import Irof
from xaibench.metrics.region_perturbation import RegionPerturbation
from xaibench.metrics.road import Road
from xaibench.metrics.selectivity import Selectivity
from xaibench.metrics.sufficiency import Sufficiency
from xaibench.problem import Attributions
from xaibench.removal import Constant
from xaibench.superpixels import Patches, Pixels

every_metric = pytest.mark.parametrize("name", METRICS)


def check_loops(metric):
    problem = wide_problem()
    attributions = random_attributions(problem)
    scores = metric(problem, attributions, RNG)
    for b in range(3):
        for t in range(2):
            values, along = loop_scores(metric, problem, attributions, b, t)
            assert set(scores.values) == {*values, "tied"}
            assert set(scores.curves) == set(along)
            for name, expected in values.items():
                assert scores.values[name][b, t].item() == pytest.approx(expected, rel=1e-4, abs=2e-6, nan_ok=True), name
            for name, expected in along.items():
                assert scores.curves[name][b, t].tolist() == pytest.approx(expected, rel=1e-4, abs=2e-6), name


@every_metric
def test_scores_equal_loops_over_images_targets_regions_and_steps(name):
    check_loops(METRICS[name])


def sensitive(name):
    """The metric with an output that any alteration changes."""
    return replace(METRICS[name], output="probability") if METRICS[name].output == "correct" else METRICS[name]


def engine_faults(name):
    """Those that can reach the metric: not all use areas, or equal steps."""
    if isinstance(METRICS[name], Comprehensiveness | Sufficiency):
        return CURVE_FAULTS[:3]
    return AREA_FAULTS if isinstance(METRICS[name], Abpc | Irof | Selectivity) else CURVE_FAULTS


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name in METRICS for fault in engine_faults(name)])
def test_loops_reject_faults_of_the_engine(name, fault, monkeypatch):
    mutants(monkeypatch)[fault]()
    with pytest.raises((AssertionError, RuntimeError)):
        check_loops(sensitive(name))


def one_curve(change):
    """A faulty score of the only curve."""
    return lambda metric, along, axis: {"value": change(*along.values(), axis)}


FAULTY_VALUES = {
    "aopc": [
        one_curve(lambda curve, axis: (curve[..., :1] - curve[..., 1:]).mean(2)),
        one_curve(lambda curve, axis: curve[..., 0] - curves.area(curve, axis)),
        one_curve(lambda curve, axis: curve.mean(2)),
    ],
    "aopc least": [one_curve(lambda curve, axis: (curve[..., :1] - curve).mean(2))],
    "region_perturbation": [one_curve(lambda curve, axis: (curve[..., :1] - curve).sum(2))],
    "selectivity": [one_curve(lambda curve, axis: curve.mean(2)), one_curve(lambda curve, axis: 1 - curves.area(curve, axis))],
    "pixel_flipping": [one_curve(lambda curve, axis: curves.area(curve.softmax(2), axis))],
    "irof": [
        one_curve(lambda curve, axis: 1 - curves.area(curve, axis)),
        one_curve(lambda curve, axis: curves.area(curve / curve[..., :1], axis)),
        one_curve(lambda curve, axis: 1 - curves.area(curve / curve.amax(), axis)),
    ],
    "comprehensiveness": [
        one_curve(lambda curve, axis: (curve[..., :1] - curve[..., :-1]).mean(2)),
        one_curve(lambda curve, axis: (curve[..., :1] - curve[..., 1:]).mean(2)),
        one_curve(lambda curve, axis: (curve[..., -1:] - curve[..., 1:-1]).mean(2)),
    ],
    "sufficiency": [
        one_curve(lambda curve, axis: (curve[..., :1] - curve[..., 1:-1]).mean(2)),
        one_curve(lambda curve, axis: (curve[..., -1:] - curve).mean(2)),
    ],
    "minimal_subset": [
        one_curve(lambda curve, axis: axis.float()[(curve.exp() >= 0.7).int().argmax(2)]),
        one_curve(lambda curve, axis: 1 - axis.float()[(curve.exp() < 0.7 * curve[..., -1:].exp()).flip(2).int().argmax(2)]),
    ],
    "abpc": [lambda metric, along, axis: {"value": curves.area(along["most"] - along["least"], axis)}],
    "road": [lambda metric, along, axis: {"value": curves.area(along["least"] - along["most"], axis)}],
}


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, faults in FAULTY_VALUES.items() for fault in range(len(faults))])
def test_loops_reject_other_readings_of_the_curves(name, fault, monkeypatch):
    right = METRICS[name].values
    faulty = FAULTY_VALUES[name][fault]
    monkeypatch.setattr(type(METRICS[name]), "values", lambda self, along, axis: right(along, axis) | faulty(self, along, axis))
    with pytest.raises(AssertionError):
        check_loops(METRICS[name])


# --- identities


@pytest.mark.parametrize("kind", [Abpc, Road])
@pytest.mark.parametrize("removal", [Constant(0.0), Constant(0.3)])
def test_reversal_swaps_the_two_orders_and_negates_their_difference_exactly(kind, removal):
    problem = wide_problem()
    maps = random_attributions(problem).values
    metric = kind(removal=removal, output="probability")
    one, other = (metric(problem, Attributions(sign * maps), RNG) for sign in (1, -1))
    assert torch.equal(other.values["value"], -one.values["value"])
    assert one.values["value"].abs().min() > 1e-4
    for first, last in (("most", "least"), ("least", "most")):
        assert torch.equal(other.values[f"{first}_first"], one.values[f"{last}_first"])
        assert torch.equal(other.curves[f"probability_{first}_first"], one.curves[f"probability_{last}_first"])


@pytest.mark.parametrize("metric", [Aopc(), RegionPerturbation(superpixels=Patches(3))], ids=["aopc", "region_perturbation"])
def test_reversal_swaps_the_order_field_exactly(metric):
    problem = wide_problem()
    maps = random_attributions(problem).values
    most = metric(problem, Attributions(maps), RNG)
    least = replace(metric, order="least")(problem, Attributions(-maps), RNG)
    assert torch.equal(least.values["value"], -most.values["value"])
    assert torch.equal(least.curves["probability"], most.curves["probability"])
    assert not torch.allclose(metric(problem, Attributions(-maps), RNG).values["value"], most.values["value"], atol=1e-3)


def test_keeping_the_better_half_removes_the_worse():
    problem = wide_problem()
    maps = random_attributions(problem).values
    kept = Sufficiency(bins=(0.5,))(problem, Attributions(maps), RNG)
    removed = Comprehensiveness(bins=(0.5,))(problem, Attributions(-maps), RNG)
    torch.testing.assert_close(kept.values["value"], removed.values["value"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(kept.curves["probability"], removed.curves["probability"].flip(2), rtol=1e-5, atol=1e-6)
    assert kept.fractions.tolist() == removed.fractions.tolist() == [0.0, 0.5, 1.0]


@every_metric
def test_monotone_rescaling_of_pixels_and_positive_scale_of_regions_change_nothing(name):
    problem, metric = wide_problem(), METRICS[name]
    maps = random_attributions(problem, channels=1).values
    scores = metric(problem, Attributions(maps), RNG)
    changes = [lambda v: 8 * v, torch.exp, lambda v: v.double() ** 3 - 1]
    for change in changes if isinstance(metric.superpixels, Pixels) else changes[:1]:
        changed = metric(problem, Attributions(change(maps)), RNG)
        for score, found in (dict(scores.values) | dict(scores.curves)).items():
            assert torch.equal(found.nan_to_num(-7), (dict(changed.values) | dict(changed.curves))[score].nan_to_num(-7)), score
