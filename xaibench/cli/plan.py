"""`xaibench plan`: what `run` would do."""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from xaibench.cli.compose import composed
from xaibench.cli.request import Request
from xaibench.grid import Grid
from xaibench.identity import influence_key, predict_key, train_key
from xaibench.planning import Planned, helpers, plan
from xaibench.problem import Family, Passes
from xaibench.skipped import reasons, whose
from xaibench.stages import Runtime
from xaibench.store import Store


def main(argv: list[str]) -> int:
    """Print the state of the grid's classifiers, explanations and cells."""
    options, overrides = parsed(argv)
    request = Request(overrides)
    grid, settings = composed(request)
    store = settings.store
    cells = plan(grid, store)
    console = Console(width=None if Console().is_terminal else 140)
    console.print(summary(grid, cells, store))
    for text in [*lines(cells), *failures(cells)]:
        console.print(text, highlight=False)
    if options.measure or options.rates:
        for part in costs(grid, cells, store, options, settings.runtime):
            console.print(part, highlight=False)
    if options.cells:
        for item in cells:
            console.print(f"{item.status:<8} {item.key[:12]} {item.cell}", highlight=False)
    return 0


def parsed(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command's own options, and the overrides."""
    parser = argparse.ArgumentParser(
        "xaibench plan",
        usage="xaibench plan OVERRIDES [options]",
        description="The overrides of `xaibench run`; nothing is computed.",
        allow_abbrev=False,
    )
    parser.add_argument("--cells", action="store_true", help="list every cell")
    parser.add_argument("--measure", action="store_true", help="time each classifier here, untrained, and tell hours and storage")
    told = "hours and storage where classifiers do F images/s forward, B forward and back; may be given several times"
    parser.add_argument("--rates", type=_rate, metavar="F,B", action="append", default=[], help=told)
    return parser.parse_known_args(argv)


def costs(grid: Grid, cells: list[Planned], store: Store, options: argparse.Namespace, runtime: Runtime) -> Iterator[Table | str]:
    """Hours and storage of each stage, and the throughput that they are computed from, for each of those asked for."""
    import torch

    from xaibench import estimates

    torch.set_num_threads(runtime.threads or torch.get_num_threads())
    planned = functools.partial(estimates.estimates, grid, cells, store)
    if options.measure:
        rates = estimates.measured(grid, runtime)
        yield hours(planned(rates))
        for (dataset, model), rate in rates.items():
            where = f"{runtime.torch_device()}, {torch.get_num_threads()} threads"
            yield f"{type(model).__name__} on {type(dataset).__name__}: {rate}, on {where}"
    for rate in options.rates:
        yield hours(planned(dict.fromkeys(estimates.pairs(grid), rate)))
        yield f"all classifiers: {rate}, as stated"


def hours(found: list[Any]) -> Table:
    """The table of estimates."""
    table = Table(title="to do: hours at the classifiers' own speed, and storage", title_justify="left")
    for column in ("stage", "results", "forward passes", "backward passes", "hours", "storage"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for each in found:
        numbers = (each.results, each.passes.forward, each.passes.backward)
        table.add_row(each.stage, *(f"{number:,}" for number in numbers), f"{each.hours:,.2f}", size(each.storage))
    table.add_row("all", "", "", "", f"{sum(each.hours for each in found):,.2f}", size(sum(each.storage for each in found)))
    return table


def size(number: float) -> str:
    """Bytes, with three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"


def _rate(text: str) -> Any:
    from xaibench.estimates import Rate

    try:
        forward, both = map(float, text.split(","))
    except ValueError:
        forward, both = 0.0, 0.0
    if not forward > both > 0:
        raise argparse.ArgumentTypeError(f"{text}: expected two numbers > 0, F,B: images/s forward, and fewer forward and back")
    return Rate(forward, both)


def lines(cells: list[Planned]) -> list[str]:
    """Which cells are skipped and why, a line for each reason."""
    found = []
    for reason, members in reasons(cells).items():
        told = [f"{', '.join(metrics)} of {', '.join(explainers)}" for explainers, metrics in whose(members).items()]
        found.append(f"skipped {len(members)}: {'; '.join(told)}: {reason}")
    return found


def failures(cells: list[Planned]) -> list[str]:
    """How many cells failed before and why, a line for each reason."""
    found = Counter(item.reason for item in cells if item.status == "failed")
    return [f"failed {number}: {reason}; retry=failed tries again" for reason, number in found.items()]


def summary(grid: Grid, cells: list[Planned], store: Store) -> Table:
    """How much of each stage is cached, to do and skipped."""
    table = Table(title=f"{len(cells)} cells", title_justify="left")
    for column in ("stage", "cached", "to do", "skipped", "forward passes to do", "backward passes to do"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    trained = {key: store.has("train", key) for key, _ in map(train_key, grid.trainings())}
    predicted = {key: store.has("predict", key) for key, _ in map(predict_key, grid.trainings())}
    further = {key: store.has("train", key) for key in helpers(cells) if key not in trained}
    for stage, found in (("train", trained), ("helpers", further), ("predict", predicted)):
        if found or stage != "helpers":
            table.add_row(stage, str(sum(found.values())), str(len(found) - sum(found.values())), "", "", "")
    analyzed = [store.has("influence", influence_key(training, entry.component)[0]) for training, entry in grid.analyses()]
    if analyzed:
        table.add_row("influence", str(sum(analyzed)), str(len(analyzed) - sum(analyzed)), "", "", "")
    todo = [item for item in cells if item.status == "to do"]
    explained = explanations(cells, store)
    once = {key: item for item in todo if explained[key := item.cell.explaining.key] == "to do"}
    exact = all(item.cell.explainer.component.family is not Family.SEARCH for item in once.values())
    work = {"explain": (_sum(item.explaining for item in once.values()), exact)}
    work["evaluate"] = _sum(item.scoring for item in todo), all(item.cell.metric.component.exact_passes for item in todo)
    scored = {item.key: item.status for item in cells if item.status != "skipped"}
    skipped = Counter(skipped=sum(item.status == "skipped" for item in cells))
    for stage, count in (("explain", Counter(explained.values())), ("evaluate", Counter(scored.values()) + skipped)):
        passes, exact = work[stage]
        numbers = (f"{'' if exact or not number else 'at most '}{number:,}" for number in (passes.forward, passes.backward))
        table.add_row(stage, *(str(count[state]) for state in ("cached", "to do", "skipped")), *numbers)
    return table


def _sum(passes: Iterable[Passes]) -> Passes:
    return sum(passes, Passes())


def explanations(cells: list[Planned], store: Store) -> dict[str, str]:
    """The state of each explanation that the cells need."""
    states: dict[str, str] = {}
    for item in cells:
        key = item.cell.explaining.key
        here = "cached" if store.has("explain", key) else item.status if item.status != "cached" else "to do"
        if states.get(key) != "to do":
            states[key] = here
    return states
