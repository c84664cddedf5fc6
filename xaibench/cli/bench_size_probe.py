"""What a process of `xaibench bench size` does: measure explainers and metrics, one after the other, in bounded memory."""

from __future__ import annotations

import argparse
import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from xaibench.bench import DIRECTIONS, RULED, Row, Speed, counted, passing
from xaibench.cli.bench_request import Bench
from xaibench.cli.bench_rows import explanation, or_failed
from xaibench.component import ConfigurationError
from xaibench.identity import Explaining
from xaibench.problem import Explainer, Problem, Training
from xaibench.scoring import Metric
from xaibench.sizing import Clock, explainer_row, metric_row, throughput
from xaibench.stages import Stages, arrays_of

NO_MEMORY = ("can't allocate memory", "out of memory", "MemoryError", "bad_alloc")


Case = tuple[str, str]
"""``throughput``, ``explainers`` or ``metrics``, and the label."""


def probed(options: argparse.Namespace, benches: Mapping[str, Bench], cases: Iterable[Case]) -> Iterator[list[Row]]:
    """The rows of each method, or of the classifier's throughput, in bounded memory."""
    torch.set_num_threads(options.threads)
    bench = next(iter(benches.values()))
    training, stages = _training(bench), Stages(bench.settings.store, bench.settings.runtime)
    explain_on, clock, given = bench.grid.explain_on[0].component, None, None
    problem = stages.problem(Explaining(training, explain_on, bench.grid.explainers[0].component), {})
    limited(problem.images.device, options.gigabytes)
    for kind, label in cases:
        if kind == "throughput":
            rows = classifier_rows(problem)
            clock = Clock(problem, {row["direction"]: _speed(row) for row in rows})
            yield rows
            continue
        clock = clock or Clock(problem, _speeds(options.out))
        method, explainer = benches[kind].methods[label], benches[kind].grid.explainers[0].component
        needs = method.needs(*((training,) if kind == "explainers" else (training, explainer)))
        if kind == "metrics" and given is None and not needs:
            given = explanation(explainer, problem)
        found = {"skipped": _training_first(needs)} if needs else or_failed(_row, method, explainer, problem, given, clock, options.passes)
        if any(text in str(found.get("skipped")) for text in NO_MEMORY):
            found["skipped"] = f"needs more than {options.gigabytes:g} GiB"
        yield [{"family": method.family.value} | found]


def classifier_rows(problem: Problem) -> list[Row]:
    """Best throughput in each direction, and the memory that a chunk of the rule takes."""
    memory = {name: counted(passing(problem, name, problem.chunk, RULED), problem.images.device)[1] / 2**20 for name in DIRECTIONS}
    return [vars(speed) | {"memory": memory[speed.direction]} for speed in throughput(problem)]


def limited(device: torch.device, gigabytes: float) -> None:
    """From here on this process may take so much more memory: what is beyond fails, and nothing else on the machine suffers."""
    most = int(gigabytes * 2**30)
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(most / torch.cuda.get_device_properties(device).total_memory, 1.0), device)
        return
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        import resource

        used = int(statistics.read_text().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (used + most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _row(method: Any, explainer: Explainer, problem: Problem, given: Any, clock: Clock, most: int) -> Row:
    if not isinstance(method, Metric):
        return explainer_row(method, problem, clock, most)
    return {"skipped": given} if isinstance(given, str) else metric_row(method, explainer, problem, given, clock, most)


def _training(bench: Bench) -> Training:
    """The network, which must take the images."""
    dataset, model = bench.grid.datasets[0].component, bench.grid.models[0].component
    found = next(bench.grid.classifiers(), None)
    if found is None:
        raise ConfigurationError(f"--model {bench.options.model}: {model.unsupported(dataset.shape, len(dataset.classes))}")
    return Training(dataset, model, found[2].component, found[3])


def _training_first(needs: Mapping[str, Training]) -> str:
    networks = {type(each.model).__name__ for each in needs.values()}
    images = len(arrays_of(next(iter(needs.values())).dataset).train.labels)
    return f"trains {len(needs)} networks ({', '.join(sorted(networks))}) with all {images:,} training images first"


def _speeds(folder: Path) -> dict[str, Speed]:
    return {str(row["direction"]): _speed(row) for row in pd.read_csv(folder / "throughput.csv").to_dict("records")}


def _speed(row: Mapping[Any, Any]) -> Speed:
    return Speed(**{name: row[name] for name in Speed.__dataclass_fields__})
