"""How fast Quantus's metrics are beside ours."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from xaibench import bench
from xaibench.adapters import quantus
from xaibench.cost import measure
from xaibench.metric_parity.peers import PEERS, MetricPeer
from xaibench.metric_parity.replay import Case
from xaibench.problem import Attributions, Explainer, Problem
from xaibench.scoring import Metric

FEW, LONG = 8, 10.0
"""Quantus scores so many images, where all would take more seconds than that."""


def speed(metric: Metric, peer: MetricPeer, case: Case, repeats: int) -> dict[str, Any]:
    """Milliseconds for an image, of both in turns, also in limits (the time of the passes alone), and passes; Quantus draws itself.

    Where it is slow, Quantus scores fewer images.
    """
    problem, rng = case.problem, bench.rng_of(metric)
    few = dataclasses.replace(case, problem=problem.take(slice(0, FEW)), explanation=case.explanation.take(slice(0, FEW)))
    start = time.perf_counter()
    peer.call(metric, few)
    theirs = few if (time.perf_counter() - start) * len(problem.images) / FEW > LONG else case
    images = {"ours": len(problem.images), "quantus": len(theirs.problem.images)}
    calls: dict[str, bench.Call] = {
        "ours": lambda: metric(case.problem, case.explanation, rng),
        "quantus": lambda: peer.call(metric, theirs),
    }
    costs = {}
    for name, call in calls.items():
        with measure(problem.model) as costs[name]:
            call()
    passing = {direction: bench.passing(problem, direction, problem.chunk, bench.RULED) for direction in bench.DIRECTIONS}
    repeats = bench.affordable(repeats, sum(cost.seconds for cost in costs.values()))
    turns = {name: np.array(spent) for name, spent in bench.turns(calls | passing, problem.images.device, repeats).items()}
    forward, both = (turns[direction] / problem.chunk for direction in bench.DIRECTIONS)
    each = {name: turns[name] / count for name, count in images.items()}
    found: dict[str, Any] = bench.spread("times_faster", each["quantus"] / each["ours"]) | {"quantus_images": images["quantus"]}
    for name, cost in costs.items():
        found[f"{name}_milliseconds"] = 1e3 * float(np.median(each[name]))
        found |= {f"{name}_forward": cost.forward / images[name], f"{name}_backward": cost.backward / images[name]}
        limit = cost.forward * forward + cost.backward * (both - forward)
        found[f"{name}_limits"] = float(np.median(turns[name] / limit)) if cost.forward else np.nan
    return found


def peer_rows(metric: Metric, explainer: Explainer, problem: Problem, explanation: Attributions, repeats: int) -> list[dict[str, Any]]:
    """`speed` of each of a metric's peers; or `skipped`, why."""
    rows, case = [], Case(problem, explainer, explanation)
    for peer in PEERS.get(type(metric).__name__, ()) if quantus.installed() else ():
        row: dict[str, Any] = {"peer": f"Quantus {peer.name}", "differs": peer.differs or None}
        try:
            found = speed(metric, peer, case, repeats)
        except Exception as error:  # whatever the other library cannot do must not stop the others
            rows.append(row | {"skipped": f"{type(error).__name__}: {error}"})
        else:
            rows.append(row | {name.replace("ours_", "our_").replace("quantus_", "peer_"): value for name, value in found.items()})
    return rows
