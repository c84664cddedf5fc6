"""What is compared: our metrics at settings that Quantus has, on which maps, with which masks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch

from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.metric_parity.replay import HOLE, Case
from xaibench.metrics.aopc import Aopc
from xaibench.metrics.attribution_localization import AttributionLocalization
from xaibench.metrics.average_sensitivity import AverageSensitivity
from xaibench.metrics.completeness_error import CompletenessError
from xaibench.metrics.consistency import Consistency
from xaibench.metrics.continuity import Continuity
from xaibench.metrics.dasgupta_sufficiency import DasguptaSufficiency
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.effective_complexity import EffectiveComplexity
from xaibench.metrics.efficient_mprt import EfficientMprt
from xaibench.metrics.entropy import Entropy
from xaibench.metrics.faithfulness_correlation import FaithfulnessCorrelation
from xaibench.metrics.faithfulness_estimate import FaithfulnessEstimate
from xaibench.metrics.focus import Focus
from xaibench.metrics.infidelity import Infidelity
from xaibench.metrics.input_invariance import InputInvariance
from xaibench.metrics.irof import Irof
from xaibench.metrics.local_lipschitz import LocalLipschitz
from xaibench.metrics.localization_auc import LocalizationAuc
from xaibench.metrics.max_sensitivity import MaxSensitivity
from xaibench.metrics.monotonicity import Monotonicity
from xaibench.metrics.monotonicity_correlation import MonotonicityCorrelation
from xaibench.metrics.mprt import Mprt
from xaibench.metrics.non_sensitivity import NonSensitivity
from xaibench.metrics.pointing_game import PointingGame
from xaibench.metrics.random_logit import RandomLogit
from xaibench.metrics.relative_input_stability import RelativeInputStability
from xaibench.metrics.relative_output_stability import RelativeOutputStability
from xaibench.metrics.relative_representation_stability import RelativeRepresentationStability
from xaibench.metrics.relevance_mass import RelevanceMass
from xaibench.metrics.relevance_rank import RelevanceRank
from xaibench.metrics.road import Road
from xaibench.metrics.selectivity import Selectivity
from xaibench.metrics.sensitivity_n import SensitivityN
from xaibench.metrics.smooth_mprt import SmoothMprt
from xaibench.metrics.sparseness import Sparseness
from xaibench.metrics.top_k_intersection import TopKIntersection
from xaibench.problem import Attributions, Explainer, Problem
from xaibench.removal import Constant, Marginal, NoisyLinear
from xaibench.scoring import Metric
from xaibench.seeding import Rng
from xaibench.superpixels import Patches

SMOOTH, GRADIENT, COMPLETE = Smoothgrad(samples=100), Gradient(), IntegratedGradients()
"""Maps without ties, which the two rank differently; one that explains again without drawing; one that claims completeness."""


@dataclass(frozen=True)
class Comparison:
    """One of our metrics at settings that Quantus has, what is explained, and what is taken for the true mask."""

    metric: Metric
    explainer: Explainer = SMOOTH
    masks: Literal["strokes", "quarters"] = "strokes"


COMPARISONS = (
    Comparison(Deletion()),
    Comparison(Deletion(output="logit", steps=56, removal=Constant(HOLE))),
    Comparison(Aopc(superpixels=Patches(4), steps=49, output="logit")),
    Comparison(Aopc(superpixels=Patches(7), steps=16, order="least")),
    Comparison(Selectivity()),
    Comparison(Irof(superpixels=Patches(4), removal=Constant(0.0))),
    Comparison(FaithfulnessCorrelation(removal=Constant(HOLE), output="logit")),
    Comparison(FaithfulnessEstimate(output="logit")),
    Comparison(SensitivityN(fractions=tuple(step / 28 for step in range(1, 23)), samples=20, removal=Constant(HOLE))),
    Comparison(Monotonicity(removal=Constant(HOLE))),
    Comparison(MonotonicityCorrelation(removal=Marginal(samples=3), output="logit")),
    Comparison(Infidelity()),
    Comparison(MaxSensitivity(), GRADIENT),
    Comparison(AverageSensitivity(), GRADIENT),
    Comparison(LocalLipschitz(), GRADIENT),
    Comparison(Continuity(fill="zero"), GRADIENT),
    Comparison(RelativeInputStability(), GRADIENT),
    Comparison(RelativeOutputStability(), GRADIENT),
    Comparison(RelativeRepresentationStability(layer="9"), GRADIENT),
    Comparison(Consistency(top=1)),
    Comparison(DasguptaSufficiency(distance=1.2)),
    Comparison(Road(removal=NoisyLinear(deviation=0.0), steps=8)),
    Comparison(Mprt(), GRADIENT),
    Comparison(SmoothMprt(), GRADIENT),
    Comparison(EfficientMprt(), GRADIENT),
    Comparison(RandomLogit(similarity="spearman"), GRADIENT),
    Comparison(Sparseness()),
    Comparison(Entropy()),
    Comparison(EffectiveComplexity(threshold=0.1)),
    Comparison(CompletenessError(), COMPLETE),
    Comparison(NonSensitivity(removal=Constant(0.0), zero=1e-3, change=1e-3)),
    Comparison(InputInvariance(), GRADIENT),
    Comparison(PointingGame()),
    Comparison(TopKIntersection(k=50)),
    Comparison(RelevanceMass(pooling="l1_norm")),
    Comparison(RelevanceRank(pooling="l1_norm")),
    Comparison(LocalizationAuc()),
    Comparison(AttributionLocalization()),
    Comparison(Focus(), masks="quarters"),
)


def case_of(comparison: Comparison, problem: Problem) -> Case:
    """What both score."""
    masks = strokes(problem) if comparison.masks == "strokes" else quarters(problem)
    problem = dataclasses.replace(problem, masks=masks)
    rng = Rng(0, 0, type(comparison.explainer).__name__)

    def again(other: Problem) -> Attributions:
        return comparison.explainer(other, rng)

    return Case(problem, comparison.explainer, dataclasses.replace(again(problem), again=again))


def strokes(problem: Problem) -> torch.Tensor:
    """(B, 1, H, W), bool: the pixels of the digit."""
    return (problem.images > 0.3).any(dim=1, keepdim=True)


def quarters(problem: Problem) -> torch.Tensor:
    """(B, 1, H, W), bool: one or two quarters of each image."""
    found = torch.zeros_like(problem.images[:, :1], dtype=torch.bool)
    height, width = (size // 2 for size in problem.images.shape[2:])
    found[::2, :, :height, :width] = True
    found[1::2, :, height:, width:] = True
    found[: len(found) // 2, :, :height, width:] = True
    return found
