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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from xaibench.adapters import quantus
from xaibench.datasets.mnist import Mnist
from xaibench.environment import environment
from xaibench.explainers.gradient import Gradient
from xaibench.identity import Explaining
from xaibench.metric_parity.comparisons import COMPARISONS, Comparison, case_of
from xaibench.metric_parity.definitions import DECISIONS
from xaibench.metric_parity.peers import PEERS, MetricPeer
from xaibench.metric_parity.replay import replay
from xaibench.metric_parity.speed import speed
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.problem import Problem, Training
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Store
from xaibench.training import Trainer

FOLDER = Path("results/metric_parity")

NOTE = """Differences and errors are the largest over the images, relative to the largest value. An error is the distance from the
definition, written out in plain loops (`xaibench/metric_parity/definitions.py`). Where something is drawn, both have the same draws;
timings are with each library's own, in turns, and the ratio is their median. A limit is the time of the passes that the library made, by
the classifier alone: where the two make different numbers of passes, the limits compare them at equal passes."""


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
                found |= speed(metric, peer, case_of(comparison, timed), repeats)
            rows.append(found)
            print(*(f"{key}={value}" for key, value in found.items() if key != "reason"), flush=True)
    return rows


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
