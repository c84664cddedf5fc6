"""What explainers and metrics take on large images: passes, seconds and memory, with fewer samples where the usual ones take too long.

Where every pass takes a tenth of a second, a method's usual thousands of passes take minutes for one image; what matters can be seen with
fewer: how near to the classifier's own speed it is, and how much memory it needs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch

from xaibench import payloads, scoring
from xaibench.bench import DIRECTIONS, LAYOUTS, RULED, Call, Explanation, Row, Speed, counted, passing, rng_of, seconds
from xaibench.component import Component, ConfigurationError
from xaibench.explaining import declared_passes
from xaibench.problem import Explainer, Passes, Problem
from xaibench.scoring import Metric
from xaibench.superpixels import Pixels, Squares

Part = TypeVar("Part", bound=Explainer[Any] | Metric[Any])

DOUBLED = {"cpu": 0, "cuda": 4}
"""How often the rule's chunk is doubled, by device type, in looking for the classifier's best: caches are small, and passes slow."""

HALVED = 2
"""How often it is halved."""

TOO_MANY = "passes for one image, more than"
"""In the reason of what is skipped though it might be measured."""

LEAST_SECONDS = 0.5
"""How long the classifier is timed at least."""


def throughput(problem: Problem) -> list[Speed]:
    """The classifier's best throughput in each direction, over powers of two around the rule's chunk and over memory formats."""
    powers = range(-HALVED, DOUBLED.get(problem.images.device.type, 0) + 1)
    chunks = [max(1, int(problem.chunk * 2.0**power)) for power in powers]
    found = []
    for direction in DIRECTIONS:
        rates: dict[tuple[int, str], float] = {}
        for chunk, layout in [*itertools.product(chunks, LAYOUTS), (problem.chunk, RULED)]:
            with contextlib.suppress(torch.OutOfMemoryError):
                call = passing(problem, direction, chunk, layout)
                call()
                rates[chunk, layout] = chunk / seconds(call, problem.images.device, LEAST_SECONDS)
        best = max(rates, key=lambda setting: rates[setting])
        found.append(Speed(direction, *best, rates[best], problem.chunk, rates[problem.chunk, RULED] / rates[best]))
    return found


def explainer_row(explainer: Explainer[Any], problem: Problem, clock: Clock, most: int) -> Row:
    """`cost_row` of one explainer."""

    def passes(component: Explainer[Any], part: Problem) -> Passes | None:
        return None if component.unsupported(part) else declared_passes(component, part)

    def call(component: Explainer[Any], part: Problem) -> Call:
        return lambda: payloads.explained(component, part, rng_of(component))

    return cost_row(explainer, problem, clock, most, explainer.unsupported(problem), passes, call)


def metric_row(metric: Metric[Any], explainer: Explainer[Any], problem: Problem, explanation: Explanation, clock: Clock, most: int) -> Row:
    """`cost_row` of one metric, that scores these explanations."""

    def passes(component: Metric[Any], part: Problem) -> Passes | None:
        return None if component.unsupported(part, explainer) else scoring.declared_passes(component, part, explainer)

    def call(component: Metric[Any], part: Problem) -> Call:
        given = explanation.take(slice(0, len(part.images)))
        return lambda: scoring.scored(component, part, given, rng_of(component))

    return cost_row(metric, problem, clock, most, scoring.unsupported(metric, explainer, problem), passes, call)


def cost_row(
    component: Part,
    problem: Problem,
    clock: Clock,
    most: int,
    reason: str | None,
    passes: Callable[[Part, Problem], Passes | None],
    call: Callable[[Part, Problem], Call],
) -> Row:
    """What one method takes within a number of passes: fields lowered until one image fits, then as many images as fit.

    Returns
    -------
    dict
        `most`: the passes that it may take. `usual`: declared passes for an image as configured. `reduced`: the fields that were
        lowered. `images`; passes and `seconds` for an image; `ratio`: the time of the passes at the classifier's best throughput, measured
        before and after, over the method's; `memory`: the peak in MiB beyond what was in use before. Or `skipped`, why.
    """
    row: Row = {"family": component.family.value, "most": most}
    one = problem.take(slice(0, 1))
    declared = None if reason else passes(component, one)
    if declared is None:
        return row | {"skipped": reason or "not supported for one image"}
    found = fitted(component, lambda each: _total(passes(each, one)), most)
    taken = _total(passes(found, one))
    row |= {"usual": _total(declared), "reduced": "; ".join(changed(component, found)) or None}
    if taken > most:
        return row | {"skipped": f"{taken:,.0f} {TOO_MANY} {most:,}, and no field that lowers them further"}
    part = problem.take(slice(0, max(1, min(len(problem.images), most // max(int(taken), 1)))))
    return row | {"images": len(part.images)} | measured(call(found, part), part, clock if taken else None)


def measured(call: Call, problem: Problem, clock: Clock | None) -> Row:
    """Passes, seconds, ratio to the limit and memory of one call; the classifier is timed before and after it."""
    before = clock.read() if clock else {}
    cost, memory = counted(call, problem.images.device, problem.model)
    images = len(problem.images)
    row: Row = {"forward": cost.forward / images, "backward": cost.backward / images}
    row |= {"seconds": cost.seconds / images, "memory": memory / 2**20}
    if clock:
        after = clock.tick()
        forward, both = ((before[name] + after[name]) / 2 for name in DIRECTIONS)
        limit = cost.forward * forward + cost.backward * (both - forward)
        row |= {"limit": limit / images, "ratio": limit / cost.seconds}
    return row


class Clock:
    """The classifier's own time, taken again and again between the methods: on a shared machine it drifts."""

    def __init__(self, problem: Problem, speeds: Mapping[str, Speed]) -> None:
        self.device, self.chunks = problem.images.device, {name: speed.chunk for name, speed in speeds.items()}
        self.calls = {name: passing(problem, name, speed.chunk, speed.layout) for name, speed in speeds.items()}
        self.last: dict[str, float] = {}

    def read(self) -> dict[str, float]:
        """Seconds for an image in each direction, as last timed."""
        return self.last or self.tick()

    def tick(self) -> dict[str, float]:
        """The same, timed now."""
        self.last = {name: seconds(call, self.device, LEAST_SECONDS) / self.chunks[name] for name, call in self.calls.items()}
        return self.last


def fitted(component: Part, passes: Callable[[Part], float], most: int) -> Part:
    """The component with fields changed, as little as halving and doubling allow, until it takes at most so many passes.

    In each round the one whole number is halved that lowers the passes least; where none does, pixels are joined to squares; where that
    does not either, a whole number is doubled, such as a stride. What cannot be lowered stays.
    """
    while passes(component) > most:
        lowered = next((found for kind in KINDS if (found := _lowered(component, passes, kind)) is not None), None)
        if lowered is None:
            return component
        component = lowered
    return component


def _lowered(component: Part, passes: Callable[[Part], float], change: Callable[[Any], Any]) -> Part | None:
    """Of all changes of one kind that lower the passes the one that lowers them least, or None; own fields before those of parts."""
    now, found = passes(component), []
    for path in paths(component):
        with contextlib.suppress(ConfigurationError):
            candidate = replaced(component, path, change)
            if candidate != component and (taken := passes(candidate)) < now:
                found.append((-len(path), taken, candidate))
    return max(found, key=lambda each: each[:2])[2] if found else None


def _halved(value: Any) -> Any:
    return max(value // 2, 1) if _whole(value) else value


def _joined(value: Any) -> Any:
    return Squares() if isinstance(value, Pixels) else value


def _doubled(value: Any) -> Any:
    return 2 * value if _whole(value) else value


KINDS: tuple[Callable[[Any], Any], ...] = (_halved, _joined, _doubled)
"""What may become of a field, in the order of preference."""


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def paths(component: Component) -> Iterator[tuple[str, ...]]:
    """The names that lead to each field that can be set, those of components in fields included."""
    for field in (field for field in dataclasses.fields(component) if field.init):
        yield (field.name,)
        value = getattr(component, field.name)
        if isinstance(value, Component):
            yield from ((field.name, *rest) for rest in paths(value))


def replaced(component: Any, path: tuple[str, ...], change: Callable[[Any], Any]) -> Any:
    """The component with one field changed."""
    name, *rest = path
    value = getattr(component, name)
    return dataclasses.replace(component, **{name: replaced(value, tuple(rest), change) if rest else change(value)})


def changed(before: Component, after: Component) -> list[str]:
    """What differs, such as ``samples=12`` or ``superpixels=Squares(side=7)``."""
    found = []
    for field in dataclasses.fields(before):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if type(old) is type(new) and isinstance(old, Component):
            found += [f"{field.name}.{text}" for text in changed(old, new)]
        elif old != new:
            found.append(f"{field.name}={new}")
    return found


def _total(passes: Passes | None) -> float:
    """Forward and backward; infinite where there is no way."""
    return float("inf") if passes is None else passes.forward + passes.backward
