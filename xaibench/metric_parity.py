"""Our metrics beside Quantus's on MNIST: equal at equal settings and draws, or different, and then what the definition says.

``python -m xaibench.metric_parity`` writes results/metric_parity/: table.csv (one row for each comparison), table.md and provenance.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from xaibench import bench
from xaibench.adapters import quantus
from xaibench.cost import measure
from xaibench.datasets.mnist import Mnist
from xaibench.environment import environment
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.metric_definitions import DECISIONS
from xaibench.metric_peers import PEERS, MetricPeer
from xaibench.metric_replay import HOLE, Case, replay
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
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.problem import Attributions, Explainer, Problem, Training
from xaibench.removal import Constant, Marginal, NoisyLinear
from xaibench.scoring import Metric
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn
from xaibench.stages import Explaining, Runtime, Stages
from xaibench.store import Store
from xaibench.superpixels import Patches
from xaibench.training import Trainer

FOLDER = Path("results/metric_parity")

SMOOTH, GRADIENT, COMPLETE = Smoothgrad(samples=100), Gradient(), IntegratedGradients()
"""Maps without ties, which the two rank differently; one that explains again without drawing; one that claims completeness."""


NOTE = """Differences and errors are the largest over the images, relative to the largest value. An error is the distance from the
definition, written out in plain loops (`xaibench/metric_definitions.py`). Where something is drawn, both have the same draws; timings
are with each library's own, in turns, and the ratio is their median. A limit is the time of the passes that the library made, by the
classifier alone: where the two make different numbers of passes, the limits compare them at equal passes."""


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


def main(arguments: list[str]) -> int:
    """Compare all, or make the table from table.csv with ``--draw``."""
    parser = argparse.ArgumentParser(prog="python -m xaibench.metric_parity", description=__doc__)
    parser.add_argument("--draw", action="store_true", help="make table.md from table.csv, without computing")
    parser.add_argument("--images", type=int, default=16, help="images that are compared")
    parser.add_argument("--timed", type=int, default=64, help="images that are timed; 0 times nothing")
    parser.add_argument("--repeats", type=int, default=5, help="turns of a timing")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not chosen.draw:
        torch.set_num_threads(chosen.threads)
        start = time.perf_counter()
        rows = list(compare(load(chosen.images), load(chosen.timed) if chosen.timed else None, chosen.repeats))
        pd.DataFrame(rows).to_csv(FOLDER / "table.csv", index=False, float_format="%.6g")
        facts = {"command": "python -m xaibench.metric_parity", "quantus": importlib.metadata.version(quantus.LIBRARY), "training seed": 0}
        facts |= {"images": chosen.images, "timed": chosen.timed, "threads": chosen.threads, "seconds": round(time.perf_counter() - start)}
        (FOLDER / "provenance.json").write_text(json.dumps(facts | environment(torch.device("cpu")), indent=1) + "\n")
    (FOLDER / "table.md").write_text(markdown(pd.read_csv(FOLDER / "table.csv", keep_default_na=True)))
    return 0


def load(images: int) -> Problem:
    """Test images of MNIST with the trained network, for the predicted class."""
    stages = Stages(Store(Path("results/store")), Runtime(device="cpu", threads=torch.get_num_threads()))
    training = Training(Mnist(), Conv10Conv20Dense50(), Trainer(), seed=0)
    return stages.problem(Explaining(training, ExplainOn(count=images), Gradient()), {})


def compare(problem: Problem, timed: Problem | None, repeats: int) -> list[dict[str, Any]]:
    """One row for each comparison of one of our metrics with one of its peers."""
    rows = []
    for comparison in COMPARISONS:
        metric = comparison.metric
        for peer in PEERS[type(metric).__name__]:
            found = result(comparison, peer, problem)
            if timed is not None:
                found |= speed(comparison, peer, timed, repeats)
            rows.append(found)
            print(*(f"{key}={value}" for key, value in found.items() if key != "reason"), flush=True)
    return rows


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


def result(comparison: Comparison, peer: MetricPeer, problem: Problem) -> dict[str, Any]:
    """How far the two are apart, and, where they should be, how far each is from its definition."""
    metric, case = comparison.metric, case_of(comparison, problem)
    rng = Rng(0, 0, type(metric).__name__)
    decision = DECISIONS.get(peer.name)
    if peer.replays or (decision is not None and type(metric).__name__ in ("SensitivityN", "Infidelity")):
        case = dataclasses.replace(case, replayed=replay(metric, case, rng))
    ours = np.asarray(peer.ours(metric, metric(case.problem, case.explanation, rng)), dtype=np.float64)
    theirs = np.asarray(peer.call(metric, case), dtype=np.float64)
    apart = difference(theirs, ours)
    row: dict[str, Any] = {"quantus": peer.name, "ours": repr(metric), "explainer": type(comparison.explainer).__name__}
    row |= {"expected": "different" if peer.differs else "equal", "difference": apart, "tolerance": peer.tolerance}
    row["found"] = "equal" if apart <= peer.tolerance else "different"
    if decision is not None:
        right, their_right = (np.asarray(value, dtype=np.float64) for value in decision(metric, case))
        row |= {"our_error": difference(ours, right), "quantus_error": difference(theirs, their_right)}
    return row | {"reason": peer.differs}


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest expected value (1 where all are 0); infinite where only one is NaN."""
    if found.shape != expected.shape:
        return float("inf")
    absent = np.isnan(expected)
    if not np.array_equal(np.isnan(found), absent):
        return float("inf")
    apart, size = np.abs(found - expected)[~absent], np.abs(expected[~absent])
    return float(apart.max() / (size.max() or 1.0)) if len(apart) else 0.0


def speed(comparison: Comparison, peer: MetricPeer, problem: Problem, repeats: int) -> dict[str, Any]:
    """Milliseconds for an image, of both in turns, also in limits (the time of the passes alone), and passes; Quantus draws itself."""
    metric, case = comparison.metric, case_of(comparison, problem)
    rng = Rng(0, 0, type(metric).__name__)
    calls: dict[str, bench.Call] = {
        "ours": lambda: metric(case.problem, case.explanation, rng),
        "quantus": lambda: peer.call(metric, case),
    }
    costs = {}
    for name, call in calls.items():
        with measure(problem.model) as costs[name]:
            call()
    passing = {direction: bench.passing(problem, direction, problem.chunk, bench.RULED) for direction in bench.DIRECTIONS}
    repeats = bench.affordable(repeats, sum(cost.seconds for cost in costs.values()))
    turns = {name: np.array(spent) for name, spent in bench.turns(calls | passing, problem.images.device, repeats).items()}
    forward, both = (turns[direction] / problem.chunk for direction in bench.DIRECTIONS)
    found: dict[str, Any] = bench.spread("times_faster", turns["quantus"] / turns["ours"])
    for name, cost in costs.items():
        found[f"{name}_milliseconds"] = 1e3 * float(np.median(turns[name])) / len(problem.images)
        found |= {f"{name}_forward": cost.forward / len(problem.images), f"{name}_backward": cost.backward / len(problem.images)}
        limit = cost.forward * forward + cost.backward * (both - forward)
        found[f"{name}_limits"] = float(np.median(turns[name] / limit)) if cost.forward else np.nan
    return found


def markdown(table: pd.DataFrame) -> str:
    """The table of the comparison, and below it why some differ."""
    lines = ["# Our metrics and Quantus's", ""]
    lines += ["| Quantus | ours | found | difference | our error | Quantus's error | times faster | limits: ours | Quantus's |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for row in table.to_dict("records"):
        surprise = "" if row["found"] == row["expected"] else " (not expected)"
        numbers = [_number(row.get(name, np.nan)) for name in ("difference", "our_error", "quantus_error")]
        cells = [row["quantus"], f"`{row['ours']}`", row["found"] + surprise, *numbers]
        cells += [_number(row.get(name, np.nan), ".1f") for name in ("times_faster", "ours_limits", "quantus_limits")]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", NOTE, ""]
    reasons = {row["quantus"]: row["reason"] for row in table.to_dict("records") if isinstance(row["reason"], str) and row["reason"]}
    lines += [f"- **{name}**: {reason}" for name, reason in reasons.items()]
    return "\n".join(lines) + "\n"


def _number(value: float, style: str = ".1g") -> str:
    return "" if pd.isna(value) else f"{value:{style}}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
