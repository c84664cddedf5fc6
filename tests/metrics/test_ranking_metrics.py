"""What every metric that ranks pixels must hold."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from ranking_cases import RNG, conv_problem, random_attributions

from xaibench import component, cost
from xaibench.metrics.accuracy_vs_saturation import AccuracyVsSaturation
from xaibench.metrics.completeness_error import CompletenessError
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.insertion import Insertion
from xaibench.metrics.sparseness import Sparseness
from xaibench.problem import Attributions
from xaibench.removal import Blur, Constant
from xaibench.scoring import Scores

CONF = Path(__file__).parents[2] / "conf" / "metric"
METRICS = [Deletion(steps=5), Insertion(steps=5, removal=Blur(1.0)), AccuracyVsSaturation(steps=5)]
every_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)


def tensors(scores: Scores):
    return {**scores.values, **scores.curves}


def assert_close(found, expected):
    assert set(tensors(found)) == set(tensors(expected))
    for name, values in tensors(expected).items():
        torch.testing.assert_close(tensors(found)[name], values, rtol=1e-5, atol=1e-6, equal_nan=True, msg=name)


def rows_of(scores, rows):
    return Scores({n: v[rows] for n, v in scores.values.items()}, {n: v[rows] for n, v in scores.curves.items()})


@every_metric
def test_shapes_and_the_axis(metric):
    problem = conv_problem()
    scores = metric(problem, random_attributions(problem), RNG)
    assert all(value.shape == (4, 2) and value.dtype == torch.float32 for value in scores.values.values())
    assert all(curve.shape == (4, 2, 6) and curve.dtype == torch.float32 for curve in scores.curves.values())
    assert scores.fractions.tolist() == [round(s * 36 / 5) / 36 for s in range(6)]
    assert {"value", "tied"} <= set(scores.values)
    assert all(value.isfinite().all() for value in tensors(scores).values())


@every_metric
@pytest.mark.parametrize(("batch", "targets", "steps", "chunk"), [(4, 2, 5, 7), (1, 1, 1, 100), (3, 3, 1000, 16)])
def test_passes_are_what_is_counted(metric, batch, targets, steps, chunk):
    problem = conv_problem(batch=batch, targets=targets, chunk=chunk)
    metric = replace(metric, steps=steps)
    with cost.measure(problem.model) as spent:
        metric(problem, random_attributions(problem), RNG)
    assert spent.passes == metric.passes(problem, None)
    assert spent.forward > 0


@every_metric
@pytest.mark.parametrize("ties", [False, True])
def test_batch_split_order_neighbors_and_chunk_change_nothing(metric, ties):
    problem = conv_problem()
    values = random_attributions(problem).values
    values = values.round() if ties else values
    whole = metric(problem, Attributions(values), RNG)
    for rows in (torch.tensor([3, 0, 2, 1]), torch.tensor([2]), slice(1, 3)):
        assert_close(metric(problem.take(rows), Attributions(values[rows]), RNG), rows_of(whole, rows))
    assert_close(metric(replace(problem, chunk=1000), Attributions(values), RNG), whole)
    swapped = metric(replace(problem, targets=problem.targets.flip(1)), Attributions(values.flip(1)), RNG)
    assert_close(swapped, Scores(*({n: v.flip(1) for n, v in part.items()} for part in (whole.values, whole.curves))))


@every_metric
def test_ties_that_follow_the_row_instead_of_the_image_are_noticed(metric):
    problem = conv_problem()
    constant = Attributions(torch.zeros(4, 2, 1, 6, 6))
    rows = torch.tensor([3, 0, 2, 1])
    expected = rows_of(metric(problem, constant, RNG), rows)
    assert_close(metric(problem.take(rows), constant, RNG), expected)
    with pytest.raises(AssertionError):
        assert_close(metric(replace(problem.take(rows), index=problem.index), constant, RNG), expected)


@every_metric
def test_a_constant_map_is_wholly_tied_and_reproducible(metric):
    problem = conv_problem()
    constant = Attributions(torch.full((4, 2, 1, 6, 6), 0.7))
    scores = metric(problem, constant, RNG)
    assert torch.equal(scores.values["tied"], torch.ones(4, 2))
    again = metric(problem, constant, RNG)
    assert all(torch.equal(value, tensors(again)[name]) for name, value in tensors(scores).items())
    assert torch.equal(metric(problem, random_attributions(problem), RNG).values["tied"], torch.zeros(4, 2))


@every_metric
def test_an_increasing_function_of_the_attributions_changes_nothing_and_a_decreasing_one_does(metric):
    problem = conv_problem()
    maps = random_attributions(problem, channels=1).values
    scores = metric(problem, Attributions(maps), RNG)
    for change in (lambda v: 8 * v, torch.exp, lambda v: v.double() ** 3 - 1):
        changed = metric(problem, Attributions(change(maps)), RNG)
        assert all(torch.equal(value, tensors(changed)[name]) for name, value in tensors(scores).items())
    assert not torch.equal(metric(problem, Attributions(-maps), RNG).values["value"], scores.values["value"])


POOLS = {
    "sum": lambda maps: maps.sum(dim=2, keepdim=True),
    "abs_sum": lambda maps: maps.abs().sum(dim=2, keepdim=True),
    "max": lambda maps: maps.amax(dim=2, keepdim=True),
}


@every_metric
@pytest.mark.parametrize("pooling", POOLS)
def test_one_channel_stands_for_all_and_channels_are_pooled_as_told(metric, pooling):
    problem = conv_problem()
    three = random_attributions(problem)
    found = replace(metric, pooling=pooling)(problem, three, RNG)
    for name, pool in POOLS.items():
        expected = metric(problem, Attributions(pool(three.values)), RNG)
        if name == pooling:
            assert_close(found, expected)
        else:
            assert not torch.allclose(found.values["value"], expected.values["value"])


@every_metric
def test_more_steps_than_pixels(metric):
    problem = conv_problem(size=8)
    scores = replace(metric, steps=100)(problem, random_attributions(problem), RNG)
    assert torch.equal(scores.fractions, torch.arange(65, dtype=torch.float64) / 64)
    assert all(curve.shape == (4, 2, 65) for curve in scores.curves.values())


@every_metric
def test_a_map_with_nan_has_nan_scores_and_the_others_keep_theirs(metric):
    problem = conv_problem()
    attributions = random_attributions(problem)
    broken = attributions.values.clone()
    broken[2, 1, 0, 4, 4] = torch.nan
    scores, expected = metric(problem, Attributions(broken), RNG), metric(problem, attributions, RNG)
    for name, values in tensors(scores).items():
        assert values[2, 1].isnan().all(), name
        kept = torch.ones(4, 2, dtype=torch.bool)
        kept[2, 1] = False
        assert torch.equal(values[kept], tensors(expected)[name][kept]), name


@every_metric
def test_a_classifier_that_gives_nan_has_nan_scores(metric):
    problem = conv_problem()
    problem.model[3].bias.fill_(torch.nan)
    scores = metric(problem, random_attributions(problem), RNG)
    assert all(value.isnan().all() for name, value in tensors(scores).items() if name != "tied")


@every_metric
def test_the_model_and_the_inputs_are_as_before(metric):
    problem = conv_problem()
    attributions = random_attributions(problem)
    inputs = {"images": problem.images, "background": problem.background, "attributions": attributions.values, "labels": problem.labels}
    before = {name: value.clone() for name, value in (inputs | problem.model.state_dict()).items()}
    metric(problem, attributions, RNG)
    assert all(torch.equal(value, before[name]) for name, value in (inputs | problem.model.state_dict()).items())
    assert not any(module.training or module._forward_hooks for module in problem.model.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in problem.model.parameters())


@every_metric
@pytest.mark.parametrize("shape", [(3, 2, 3, 6, 6), (4, 1, 3, 6, 6), (4, 2, 2, 6, 6), (4, 2, 3, 5, 6), (4, 2, 6, 6)])
def test_a_wrong_shape_is_refused_with_both_shapes(metric, shape):
    with pytest.raises(ValueError) as error:
        metric(conv_problem(), Attributions(torch.zeros(shape)), RNG)
    assert str(shape) in str(error.value)
    assert "(4, 3, 6, 6)" in str(error.value)


@every_metric
def test_predictions_alone_are_not_enough(metric):
    problem = conv_problem()
    assert metric.unsupported(problem, None) is None
    assert "needs a model" in metric.unsupported(replace(problem, model=None), None)


DEFAULTS = {
    "deletion": Deletion(steps=28, removal=Constant(0.0), pooling="sum", output="probability"),
    "insertion": Insertion(steps=28, removal=Constant(0.0), pooling="sum", output="probability"),
    "accuracy_vs_saturation": AccuracyVsSaturation(steps=28, pooling="sum"),
    "sparseness": Sparseness(pooling="sum"),
    "completeness_error": CompletenessError(),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_yaml_gives_the_documented_defaults(name):
    spec = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert component.build(spec, "metric") == DEFAULTS[name]


def test_the_removal_operator_can_be_overridden_in_the_yaml():
    spec = yaml.safe_load((CONF / "deletion.yaml").read_text())
    spec["removal"]["value"] = 0.5
    assert component.build(spec, "metric") == Deletion(removal=Constant(0.5))
    spec["removal"]["value"] = 5
    with pytest.raises(component.ConfigurationError, match=r"Constant\.value=5"):
        component.build(spec, "metric")
