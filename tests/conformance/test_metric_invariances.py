"""What may be done to all maps of an explainer without changing a metric's scores, for every metric in conf/."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from conformance_cases import RNG, make_problem, names
from metric_cases import explanation, lively, metrics, mosaic, supported, with_helpers
from torch import Tensor

from xaibench.problem import Attributions, Problem
from xaibench.scoring import Metric

Change = Callable[[Tensor], Tensor]

CHANGES: dict[str, Change] = {
    "scale": lambda maps: 4 * maps,
    "increasing": lambda maps: torch.exp(maps / maps.abs().amax((2, 3, 4), keepdim=True)),
    "sign": lambda maps: -maps,
}
"""A positive factor; an increasing function; the opposite sign."""

RANKS = {
    *("abpc", "accuracy_vs_saturation", "aopc", "comprehensiveness", "deletion", "f_fidelity", "insertion", "irof", "keep_and_retrain"),
    *("minimal_subset", "monotonicity", "pixel_flipping", "region_perturbation", "road", "roar", "selectivity", "sufficiency"),
    *("localization_auc", "pointing_game", "top_k_intersection"),
}
"""They look at the order of the pixels, or of regions whose relevance is the mean of their pixels."""
REGIONS = {"irof", "region_perturbation", "selectivity"}
"""Their regions have several pixels: an increasing function of the pixels is none of the means."""
SCALED = {
    *("completeness_error", "continuity", "exact_shapley_error", "local_lipschitz"),
    *("relative_input_stability", "relative_output_stability", "relative_representation_stability"),
}
"""Their scores change with a positive factor: they have the attributions' unit, or a constant that is added to it."""
UNSIGNED = {
    *("average_sensitivity", "continuity", "dummy_error", "earth_movers_distance", "infidelity", "input_invariance", "local_lipschitz"),
    *("max_sensitivity", "relative_input_stability", "relative_output_stability", "relative_representation_stability", "symmetry_error"),
    *("effective_complexity", "efficient_mprt", "entropy", "monotonicity_correlation", "mprt", "non_sensitivity"),
    *("random_logit", "relevance_mass", "relevance_rank", "smooth_mprt", "sparseness", "total_variation"),
}
"""They look at absolute values, or fit a factor of either sign first (infidelity with the optimal scale)."""
AT_AN_END = {"average_drop", "average_increase", "symmetry_error"}
"""Here at an end of their range, whatever is done."""
SET_LEVEL = {"consistency", "dasgupta_sufficiency"}
"""On the few images of a test hardly any two have the same explanation; see tests/metrics/test_set_level.py."""
single = pytest.mark.parametrize("name", [name for name in names("metric") if name not in SET_LEVEL])


def changed(found: Attributions, change: Change) -> Attributions:
    """The maps of an explainer that changes all that it gives."""

    def again(problem: Problem) -> Attributions:
        return changed(found.again(problem), change)

    return dataclasses.replace(found, values=change(found.values), again=again)


def case(name: str) -> tuple[Metric, Problem, Attributions]:
    """With one channel, where increasing functions keep the order of pixels."""
    metric = metrics()[name]
    for model, kind in (("mlp", "complete"), ("conv16_conv32_gap", "complete"), ("additive", "complete")):
        problem = make_problem(model, (1, 12, 10))
        problem = with_helpers(metric, mosaic(lively(problem) if model == "mlp" else problem), kind)
        if supported(metric, problem, kind):
            return metric, problem, explanation(kind, problem)
    raise AssertionError(name)


def unchanged(name: str, change: str) -> bool:
    metric, problem, found = case(name)
    before, after = (metric(problem, maps, RNG).values["value"] for maps in (found, changed(found, CHANGES[change])))
    assert before.isfinite().any(), f"{name} has no score here"
    return torch.allclose(before, after, rtol=1e-4, atol=1e-5, equal_nan=True)


@single
def test_a_positive_factor_changes_nothing_but_where_the_definition_has_a_unit(name):
    assert unchanged(name, "scale") == (name not in SCALED)


@single
def test_an_increasing_function_changes_nothing_where_pixels_are_ranked_and_all_else(name):
    assert unchanged(name, "increasing") == (name in (RANKS - REGIONS) | AT_AN_END)


@single
def test_the_sign_matters_but_where_absolute_values_are_compared(name):
    assert unchanged(name, "sign") == (name in UNSIGNED)


def test_the_lists_name_metrics_that_exist():
    assert set(names("metric")) >= (RANKS | SCALED | UNSIGNED)
