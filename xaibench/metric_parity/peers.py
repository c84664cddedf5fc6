"""Which metrics Quantus has too, what of both is compared, and why it gives something else where it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaibench.metric_parity import again as again
from xaibench.metric_parity import calls as calls
from xaibench.metric_parity.calls import PeerCall
from xaibench.scoring import Scores

Ours = Callable[[Any, Scores], Tensor]
"""Takes a metric and its scores; gives what is compared, (B, ...)."""


@dataclass(frozen=True)
class MetricPeer:
    """Quantus's implementation of a metric.

    Attributes
    ----------
    name
        Its class, and what of it is compared.
    call
        Computes it at a metric's settings.
    ours
        What it is compared with.
    tolerance
        How far the two may be apart, relative to the largest of ours: float32 rounds, most where outputs that differ little are subtracted.
    replays
        Whether it draws at random: then it is compared with the same draws, for which pixels are removed to `HOLE`.
    explains
        Whether it explains again.
    differs
        Why it does not give the same; empty where it does.
    """

    name: str
    call: PeerCall
    ours: Ours = lambda metric, scores: scores.values["value"][:, 0]
    tolerance: float = 1e-5
    replays: bool = False
    explains: bool = False
    differs: str = ""


def score(name: str) -> Ours:
    """One of our scores, (B,)."""
    return lambda metric, scores: scores.values[name][:, 0]


def curve(metric: Any, scores: Scores) -> Tensor:
    """(B, S): the curve, or the one that removes the most relevant first, without the whole image."""
    found = scores.curves.get(f"{metric.output}_most_first", scores.curves.get(metric.output))
    if found is None:
        raise ValueError(f"{type(metric).__name__}: expected a curve of {metric.output}, found {list(scores.curves)}")
    return found[:, 0, 1:]


def layers(metric: Any, scores: Scores) -> Tensor:
    """(B, L): the scores after each layer."""
    return torch.stack([value[:, 0] for name, value in scores.values.items() if name.startswith("layer_")], dim=1)


def unchanged(metric: Any, scores: Scores) -> Tensor:
    """(B,): 1 where the map stays."""
    return (scores.values["value"][:, 0] < 1e-4).double()


def complete(metric: Any, scores: Scores) -> Tensor:
    """(B,): 1 where less than a hundredth is missing."""
    return (scores.values["relative"][:, 0] < 0.01).double()


def accuracies(metric: Any, scores: Scores) -> Tensor:
    """(S - 1,): the same of ours."""
    return curve(metric, scores)[:, :-1].mean(0)


def means_by_size(metric: Any, scores: Scores) -> Tensor:
    """(S,): the means over the images of ours."""
    return torch.stack([value[:, 0].mean() for name, value in scores.values.items() if name.startswith("n_")])


AREA = "Its area takes unit steps and leaves out the whole image; Petsiuk et al. 2018 (arXiv:1806.07421) take the area over the fraction."

PEERS: Mapping[str, tuple[MetricPeer, ...]] = {
    "Deletion": (
        MetricPeer("PixelFlipping", calls.pixel_flipping, curve),
        MetricPeer("PixelFlipping, area", calls.pixel_flipping_area, differs=AREA),
    ),
    "PixelFlipping": (MetricPeer("PixelFlipping", calls.pixel_flipping, curve),),
    "Aopc": (MetricPeer("RegionPerturbation", calls.region_perturbation),),
    "RegionPerturbation": (MetricPeer("RegionPerturbation", calls.region_perturbation),),
    "Selectivity": (MetricPeer("Selectivity", calls.selectivity, curve),),
    "Irof": (
        MetricPeer("IROF, with both ends", calls.irof_with_both_ends),
        MetricPeer(
            "IROF",
            calls.irof,
            differs="Its area takes unit steps from the first superpixel on; Rieger and Hansen 2020 (arXiv:2003.08747) start the curve at "
            "the whole image, l = 0. Its default baseline is the mean of the whole batch as altered so far, not of the image.",
        ),
    ),
    "Road": (MetricPeer("ROAD", calls.road, accuracies),),
    "FaithfulnessCorrelation": (MetricPeer("FaithfulnessCorrelation", calls.faithfulness_correlation, replays=True),),
    "FaithfulnessEstimate": (MetricPeer("FaithfulnessEstimate", calls.faithfulness_estimate),),
    "SensitivityN": (
        MetricPeer(
            "SensitivityN",
            calls.sensitivity_n,
            means_by_size,
            differs="It correlates, over the images, each step's attributions with the drop of all steps so far; Ancona et al. 2018 "
            "(arXiv:1711.06104, sensitivity-n) correlate, for one image, both over random subsets of n pixels. It keeps one batch only.",
        ),
    ),
    "Monotonicity": (
        MetricPeer(
            "Monotonicity",
            calls.monotonicity,
            score("monotone"),
            differs="It puts the baseline into the baseline, so that the output never changes and the score is always 1; Arya et al. 2019 "
            "(arXiv:1909.03012, monotonicity) put the image's pixels in.",
        ),
    ),
    "MonotonicityCorrelation": (MetricPeer("MonotonicityCorrelation", calls.monotonicity_correlation, tolerance=1e-4),),
    "Infidelity": (
        MetricPeer("Infidelity, one patch", calls.infidelity, score("unscaled"), tolerance=1e-4, replays=True),
        MetricPeer(
            "Infidelity",
            calls.infidelity_of_patches,
            score("unscaled"),
            differs="It does not restore a patch before it removes the next one, so that its perturbations accumulate; the expectation of "
            "Yeh et al. 2019 (arXiv:1901.09392, definition 2.1) is over single ones.",
        ),
    ),
    "MaxSensitivity": (MetricPeer("MaxSensitivity", again.perturbed("MaxSensitivity"), replays=True, explains=True),),
    "AverageSensitivity": (MetricPeer("AvgSensitivity", again.perturbed("AvgSensitivity"), replays=True, explains=True),),
    "LocalLipschitz": (MetricPeer("LocalLipschitzEstimate", again.perturbed("LocalLipschitzEstimate"), replays=True, explains=True),),
    "Continuity": (MetricPeer("Continuity", again.continuity, replays=True, explains=True),),
    "RelativeInputStability": (MetricPeer("RelativeInputStability", again.stable("RelativeInputStability"), replays=True, explains=True),),
    "RelativeOutputStability": (
        MetricPeer("RelativeOutputStability", again.stable("RelativeOutputStability"), tolerance=1e-4, replays=True, explains=True),
    ),
    "RelativeRepresentationStability": (
        MetricPeer(
            "RelativeRepresentationStability",
            again.stable("RelativeRepresentationStability", layer_names=lambda metric: [metric.layer]),
            tolerance=1e-4,
            replays=True,
            explains=True,
        ),
    ),
    "Consistency": (MetricPeer("Consistency", calls.consistency),),
    "DasguptaSufficiency": (
        MetricPeer("Sufficiency, our distances", calls.dasgupta_sufficiency),
        MetricPeer(
            "Sufficiency",
            calls.sufficiency,
            differs="Its distances are divided by the pixels' variance over the batch and by the largest in the batch, and 0 stands for no "
            "similar image; Dasgupta et al. 2022 (arXiv:2202.00734, sufficiency) ask for a property of the two explanations.",
        ),
    ),
    "Mprt": (MetricPeer("MPRT", again.model_randomization, layers, replays=True, explains=True),),
    "SmoothMprt": (MetricPeer("SmoothMPRT", again.smooth_model_randomization, layers, replays=True, explains=True),),
    "EfficientMprt": (MetricPeer("EfficientMPRT", again.efficient_model_randomization, replays=True, explains=True),),
    "RandomLogit": (MetricPeer("RandomLogit", again.random_logit, replays=True, explains=True),),
    "Sparseness": (MetricPeer("Sparseness", calls.local("Sparseness", abs=True)),),
    "Entropy": (MetricPeer("Complexity", calls.local("Complexity", abs=True)),),
    "EffectiveComplexity": (
        MetricPeer("EffectiveComplexity, maps divided one by one", calls.effective_complexity(False)),
        MetricPeer(
            "EffectiveComplexity",
            calls.effective_complexity(True),
            differs="It divides all maps by the largest attribution in the batch: a map's score depends on the other images.",
        ),
    ),
    "CompletenessError": (
        MetricPeer(
            "Completeness",
            calls.completeness,
            complete,
            differs="It asks whether two sums of float32 are the same bits, which no real network passes; the error of Sundararajan et "
            "al. 2017 (arXiv:1703.01365, proposition 1) is a number.",
        ),
    ),
    "NonSensitivity": (MetricPeer("NonSensitivity", calls.non_sensitivity),),
    "InputInvariance": (
        MetricPeer(
            "InputInvariance",
            again.input_invariance,
            unchanged,
            explains=True,
            differs="It does not shift the first pixel, so that its two networks do not compute the same; Kindermans et al. 2017 "
            "(arXiv:1711.00867, section 2) shift the whole image. It says yes or no, at a fixed tolerance.",
        ),
    ),
    "PointingGame": (MetricPeer("PointingGame", calls.masked("PointingGame")),),
    "TopKIntersection": (MetricPeer("TopKIntersection", calls.masked("TopKIntersection", k=lambda metric: metric.k)),),
    "RelevanceMass": (MetricPeer("RelevanceMassAccuracy", calls.masked("RelevanceMassAccuracy", abs=True)),),
    "RelevanceRank": (MetricPeer("RelevanceRankAccuracy", calls.masked("RelevanceRankAccuracy", abs=True)),),
    "LocalizationAuc": (MetricPeer("AUC", calls.masked("AUC")),),
    "AttributionLocalization": (
        MetricPeer("AttributionLocalisation", calls.masked("AttributionLocalisation", positive_attributions=True), score("unweighted")),
        MetricPeer(
            "AttributionLocalisation, weighted",
            calls.masked("AttributionLocalisation", positive_attributions=True, weighted=True),
            differs="It multiplies by the mask's share where Kohlbrenner et al. 2020 (arXiv:1910.09840, mu_w) divide, and takes for the "
            "image's size that of all but two images of the batch.",
        ),
    ),
    "Focus": (MetricPeer("Focus", calls.focus),),
}
"""By the name of our class."""
