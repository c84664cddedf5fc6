"""Every explainer on classifiers of all kinds: it explains them, or says the true reason why not, and what to do."""

import dataclasses
from functools import cache

import fewer
import networks
import pytest
import torch
from conformance_cases import RNG, check_explainer, explainers
from torch.testing import assert_close

from xaibench.explainers.guided_backpropagation import GuidedBackpropagation
from xaibench.problem import Explainer, Family, Problem
from xaibench.rewriting import modular

CAMS = ["ablation_cam", "grad_cam", "grad_cam_plus_plus", "guided_grad_cam", "hires_cam", "layer_cam", "score_cam"]
RELU_RULES = ["deconvolution", "guided_backpropagation", "guided_grad_cam"]
RESCALE = ["deep_lift", "deep_shap"]
LRP = ["lrp_alpha2_beta1", "lrp_epsilon_plus", "lrp_gamma"]

SKIPPED: dict[str, dict[str, list[str]]] = {
    "gelu": {
        "an activation other than ReLU (GELU '3')": RELU_RULES,
        "GELU '1' does not grow in proportion to its input": ["full_grad"],
    },
    "dense": {
        "no 2D convolution": CAMS,
        "no convolution, where alone this composite differs from Input x Gradient": LRP,
    },
    "functional": {
        "calls relu as a function: make it a module, such as nn.ReLU()": ["deconvolution", "guided_backpropagation", *RESCALE],
        "what activates the maps of": CAMS,
    },
    "shared": {
        "times: give every use a module of its own": CAMS,
    },
    "in place": {
        "make it with inplace=False": RELU_RULES + RESCALE,
        "make modules with inplace=False": LRP,
    },
}
"""Network -> fragment of the reason -> who does not explain it."""

FIX = "xaibench.rewriting.modular(model) does so"


def expected_reasons(name: str) -> dict[str, str]:
    """Network -> fragment of the reason."""
    return {network: fragment for network, reasons in SKIPPED.items() for fragment, skipping in reasons.items() if name in skipping}


def check_networks(name: str, explainer: Explainer) -> None:
    """It explains the networks that it should, and gives the expected reason for the others."""
    expected = expected_reasons(name)
    for network in networks.NETWORKS:
        problem = networks.make_problem(network)
        explains = check_explainer(explainer, problem)
        assert explains == (network not in expected), f"{network}: {explainer.unsupported(problem)}"
        assert explains or expected[network] in explainer.unsupported(problem)


@cache
def _of_the_twin(explainer: Explainer) -> torch.Tensor:
    return explainer(networks.make_problem("modular"), RNG).values


def check_as_the_twin(explainer: Explainer, problem: Problem) -> None:
    """A network that is written otherwise than "modular", but is the same function layer by layer, gets the same explanation."""
    assert explainer.unsupported(problem) is None
    expected = _of_the_twin(explainer)
    assert_close(explainer(problem, RNG).values, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def check_rewriting(explainer: Explainer) -> None:
    """What is not explained as it is written names the fix, and is explained once that is done; all else is explained right."""
    for network in networks.REWRITABLE:
        problem = networks.make_problem(network)
        rewritten = networks.make_problem(network, modular(problem.classifier))
        check_as_the_twin(explainer, rewritten)
        reason = explainer.unsupported(problem)
        if reason is None:
            check_as_the_twin(explainer, problem)
        else:
            assert FIX in reason


@pytest.mark.parametrize("name", fewer.names())
def test_explains_every_network_or_says_why_not(name):
    check_networks(name, explainers()[name])


@pytest.mark.parametrize("name", fewer.names())
def test_how_activations_are_written_changes_nothing_or_is_told_with_the_fix(name):
    check_rewriting(explainers()[name])


def test_what_needs_no_rules_explains_everything():
    skipping = {name for reasons in SKIPPED.values() for listed in reasons.values() for name in listed}
    assert skipping <= set(fewer.names())
    outside = {name for name, explainer in explainers().items() if explainer.family in (Family.PERTURBATION, Family.CONTROL)}
    assert not outside & skipping


@pytest.mark.parametrize("name", networks.REWRITABLE)
def test_the_networks_that_are_written_differently_are_one_function(name):
    expected = networks.make_problem("modular")
    logits = expected.classifier(expected.images)
    problem = networks.make_problem(name)
    assert_close(problem.classifier(problem.images), logits)
    assert_close(modular(problem.classifier)(problem.images), logits)
    assert logits.std(1).min() > 0.01


@dataclasses.dataclass(frozen=True)
class Careless(GuidedBackpropagation):
    """Does not look at the classifier."""

    def unsupported(self, problem: Problem) -> str | None:
        return None


@dataclasses.dataclass(frozen=True)
class Unhelpful(GuidedBackpropagation):
    """Does not say what to do."""

    def unsupported(self, problem: Problem) -> str | None:
        return None if super().unsupported(problem) is None else "not supported"


@pytest.mark.parametrize("mutant", [Careless(), Unhelpful()])
@pytest.mark.parametrize("check", [lambda mutant: check_networks("guided_backpropagation", mutant), check_rewriting])
def test_the_checks_reject_mutants(check, mutant):
    with pytest.raises(AssertionError):
        check(mutant)
