"""How fast explainers are: against the classifier's own best throughput, and against other libraries at equal settings.

Timings on a shared machine drift by tens of percent. So whatever is compared is timed in turns, in one process, and a ratio is the
median of the ratios within the turns; images per second of different runs are not comparable.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import itertools
import math
import mmap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xaibench import payloads
from xaibench.component import Component
from xaibench.cost import LARGEST_CHUNK, Cost, measure
from xaibench.explaining import explained
from xaibench.peers import Peer
from xaibench.problem import Attributions, Counterfactuals, Explainer, Passes, Problem
from xaibench.scoring import Metric, scored, unsupported
from xaibench.seeding import Rng

Call = Callable[[], Any]
Row = dict[str, Any]
Explanation = Attributions | Counterfactuals

DIRECTIONS = ("forward", "forward and backward")
LEAST_SECONDS = 0.1
"""How long one timing lasts at least: what is shorter is repeated."""
MOST_SECONDS = 1.0
"""And at most, where the classifier is timed beside a slow method."""
AFFORDED_SECONDS = 60.0
"""How long all turns of one method may take together: slower ones get fewer turns, but one."""


@dataclass(frozen=True)
class Speed:
    """How a classifier goes through images fastest, in one direction.

    Attributes
    ----------
    direction
        One of `DIRECTIONS`.
    chunk, layout
        Images at once, and the memory format of weights and images.
    rate
        Images per second.
    ruled_chunk, ruled_share
        The problem's own chunk, and what share of the best throughput it reaches with the weights' own format.
    """

    direction: str
    chunk: int
    layout: str
    rate: float
    ruled_chunk: int
    ruled_share: float


LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
RULED = "as given"
"""The layout that weights and images have by the fixed rule."""


def tune(problem: Problem, rounds: int = 3, least: float = 0.03) -> dict[str, Speed]:
    """The classifier's best throughput over chunks and memory formats, by direction, beside that at the problem's chunk.

    Each setting is timed once a round and its best round counts; the best setting and the fixed rule's are then timed in turns.
    """
    device = problem.images.device
    largest = LARGEST_CHUNK.get(device.type, LARGEST_CHUNK["cuda"])
    settings = [(2**power, layout) for power in range(3, largest.bit_length()) for layout in LAYOUTS] + [(problem.chunk, RULED)]
    rates: dict[tuple[str, int, str], float] = {}
    for _ in range(rounds):
        for direction, (chunk, layout) in itertools.product(DIRECTIONS, settings):
            with contextlib.suppress(torch.OutOfMemoryError):
                call = passing(problem, direction, chunk, layout)
                call()
                rate = chunk / seconds(call, device, least)
                rates[direction, chunk, layout] = max(rates.get((direction, chunk, layout), 0.0), rate)
    found = {}
    for direction in DIRECTIONS:
        own = {setting[1:]: rate for setting, rate in rates.items() if setting[0] == direction}
        chunk, layout = max(own, key=lambda setting: own[setting])
        pair = {"best": (chunk, layout), "ruled": (problem.chunk, RULED)}
        spent = turns({name: passing(problem, direction, *setting) for name, setting in pair.items()}, device, 5)
        best, ruled = (np.array(spent[name]) / pair[name][0] for name in pair)
        found[direction] = Speed(direction, chunk, layout, 1 / float(best.min()), problem.chunk, float(np.median(best / ruled)))
    return found


def passing(problem: Problem, direction: str, chunk: int, layout: str) -> Call:
    """Sends so many of the problem's images through the classifier; `layout` is one of `LAYOUTS`, or `RULED`."""
    model: nn.Module = problem.classifier
    images = problem.images[torch.arange(chunk, device=problem.images.device) % len(problem.images)]
    if layout in LAYOUTS:
        model = copy.deepcopy(model).to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
        images = images.contiguous(memory_format=LAYOUTS[layout])

    def forward() -> Tensor:
        with torch.inference_mode():
            found: Tensor = model(images)
            return found

    def both() -> Tensor:
        leaves = images.detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(model(leaves)[:, 0].sum(), leaves)
        return gradient

    return forward if direction == DIRECTIONS[0] else both


def explainer_row(explainer: Explainer[Any], problem: Problem, speeds: Mapping[str, Speed], repeats: int) -> Row:
    """`speed_row` of one explainer; or `skipped`, why."""
    row: Row = {"family": explainer.family.value, "images": len(problem.images), "targets": problem.targets.shape[1]}
    reason = explainer.unsupported(problem)
    if reason is not None:
        return row | {"skipped": reason}
    return row | speed_row(lambda: payloads.explained(explainer, problem, rng_of(explainer)), problem, speeds, repeats)


def metric_row(
    metric: Metric[Any],
    explainer: Explainer[Any],
    problem: Problem,
    explanation: Explanation,
    speeds: Mapping[str, Speed],
    repeats: int,
) -> Row:
    """`speed_row` of one metric, that scores these explanations; or `skipped`, why."""
    row: Row = {"family": metric.family.value, "images": len(problem.images), "targets": problem.targets.shape[1]}
    reason = unsupported(metric, explainer, problem)
    if reason is not None:
        return row | {"skipped": reason}
    return row | speed_row(lambda: scored(metric, problem, explanation, rng_of(metric)), problem, speeds, repeats)


def rng_of(component: Component) -> Rng:
    """The draws of a component in a benchmark."""
    return Rng(0, 0, type(component).__name__)


def speed_row(call: Call, problem: Problem, speeds: Mapping[str, Speed], repeats: int) -> Row:
    """Images per second, passes, the ratio to the limit and peak memory of one method.

    The limit is the time of the method's passes at the classifier's best throughput; a backward pass is what forward and backward
    take beyond forward alone.

    Returns
    -------
    dict
        `seconds` for all images, `images_per_second` (medians), passes per image as counted, `limit` in images per second, `ratio` of the
        limit's time to the method's with the lowest and highest turn, `memory` in MiB beyond what was there before.
    """
    cost, memory = counted(call, problem.images.device, problem.model)
    passes, least = cost.passes, min(max(cost.seconds / 4, LEAST_SECONDS), MOST_SECONDS)
    calls = {name: passing(problem, name, speed.chunk, speed.layout) for name, speed in speeds.items()} if passes != Passes() else {}
    found = turns({"method": call} | calls, problem.images.device, affordable(repeats, cost.seconds), least)
    images = len(problem.images)
    row: Row = {"seconds": float(np.median(found["method"])), "images_per_second": images / float(np.median(found["method"]))}
    row |= {"forward": passes.forward / images, "backward": passes.backward / images, "memory": memory / 2**20}
    if calls:
        forward, both = (np.array(found[name]) / speeds[name].chunk for name in DIRECTIONS)
        limits = passes.forward * forward + passes.backward * (both - forward)
        row |= {"limit": images / float(np.median(limits))} | spread("ratio", limits / np.array(found["method"]))
    return row


def counted(call: Call, device: torch.device, model: nn.Module | None = None) -> tuple[Cost, int]:
    """What a call costs, and the peak of its memory, in bytes, beyond what was in use before."""
    release_memory()
    with measure(model) as cost:
        before = in_use(device)
        call()
    return cost, max((cost.peak_bytes or 0) - before, 0)


def peer_row(explainer: Explainer, peer: Peer, problem: Problem, repeats: int) -> Row:
    """An explainer beside another library's implementation at equal settings, timed in turns, and how far each is from the reference.

    A slow peer explains fewer images; seconds per image are compared.

    Returns
    -------
    dict
        Milliseconds per image of both; `times_faster` (peer's time to ours) with the lowest and highest turn; `difference`, the largest
        between the two relative to the largest value; and, where they are stochastic, `our_error` and `peer_error`: root mean square
        distance from the reference relative to the root mean square of that. Or `skipped`, why.
    """
    few = problem.take(slice(0, peer.images))
    row: Row = {"peer": peer.name, "images": len(problem.images), "peer_images": len(few.images), "differs": peer.differs or None}
    reason = explainer.unsupported(problem) or peer.unsupported(explainer, few)
    if reason is not None:
        return row | {"skipped": reason}
    rng, start = rng_of(explainer), time.perf_counter()
    ours, theirs = explained(explainer, few, rng).values, peer.call(explainer, few, 0)
    repeats = affordable(repeats, time.perf_counter() - start)
    calls = {"ours": lambda: explained(explainer, problem, rng), "peer": lambda: peer.call(explainer, few, 0)}
    found = turns(calls, problem.images.device, repeats)
    mine, other = np.array(found["ours"]) / len(problem.images), np.array(found["peer"]) / len(few.images)
    row |= {"our_milliseconds": 1e3 * float(np.median(mine)), "peer_milliseconds": 1e3 * float(np.median(other))}
    row |= spread("times_faster", other / mine)
    row["difference"] = float((ours - theirs).abs().max() / ours.abs().max())
    if peer.reference is not None:
        reference = peer.reference(explainer, few).to(torch.float64)
        row |= {"our_error": error(ours, reference), "peer_error": error(theirs, reference)}
    return row


def error(values: Tensor, reference: Tensor) -> float:
    """Root mean square distance, relative to the root mean square of the reference."""
    return float(((values - reference).square().mean() / reference.square().mean()).sqrt())


def memory_row(explainer: Explainer[Any], problem: Problem) -> Row:
    """Peak memory of explaining all images, in MiB beyond the interpreter and the inputs, and that without the results.

    For a process of its own: what other calls left behind would hide a peak.
    """
    rng = rng_of(explainer)
    payloads.explained(explainer, problem.take(slice(0, 8)), rng)  # what libraries allocate once is not the method's
    results: list[Any] = []
    _, peak = counted(lambda: results.append(payloads.explained(explainer, problem, rng)), problem.images.device)
    size = sum(value.nbytes for value in vars(results[0]).values() if isinstance(value, Tensor))
    return {"images": len(problem.images), "memory": peak / 2**20, "results": size / 2**20, "without_results": (peak - size) / 2**20}


def metric_memory_row(metric: Metric[Any], problem: Problem, explanation: Explanation) -> Row:
    """`memory_row` of scoring all images' explanations, which lie there before."""
    scored(metric, problem.take(slice(0, 8)), explanation.take(slice(0, 8)), rng_of(metric))
    _, peak = counted(lambda: scored(metric, problem, explanation, rng_of(metric)), problem.images.device)
    return {"images": len(problem.images), "memory": peak / 2**20, "results": 0.0, "without_results": peak / 2**20}


def turns(calls: Mapping[str, Call], device: torch.device, repeats: int, least: float = LEAST_SECONDS) -> dict[str, list[float]]:
    """Seconds of each call, timed in turns of at least so long each, in the reverse order every other time."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats):
        for name in list(calls) if turn % 2 == 0 else reversed(list(calls)):
            found[name].append(seconds(calls[name], device, least))
    return found


def affordable(repeats: int, spent: float) -> int:
    """How many turns of something that took so many seconds fit into `AFFORDED_SECONDS`: at least 1, at most `repeats`."""
    return max(1, min(repeats, int(AFFORDED_SECONDS / spent))) if spent else repeats


def seconds(call: Call, device: torch.device, least: float) -> float:
    """Mean seconds of one call, over as many as take at least so long together."""
    count, spent = 0, 0.0
    while spent < least or not count:
        more = max(1, math.ceil(count * (least / spent - 1))) if spent else 1
        _synchronize(device)
        start = time.perf_counter()
        for _ in range(more):
            call()
        _synchronize(device)
        count, spent = count + more, spent + time.perf_counter() - start
    return spent / count


def spread(name: str, ratios: np.ndarray) -> Row:
    """Median, lowest and highest of the turns' ratios."""
    return {name: float(np.median(ratios)), f"{name}_low": float(ratios.min()), f"{name}_high": float(ratios.max())}


def release_memory() -> None:
    """Give freed memory back to the system, so that a later peak is above what is in use."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def in_use(device: torch.device) -> int:
    """Bytes in use by the device's allocator, or by this process; 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    statistics = Path("/proc/self/statm")
    return int(statistics.read_text().split()[1]) * mmap.PAGESIZE if statistics.exists() else 0


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
