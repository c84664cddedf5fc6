"""`xaibench bench explainers` and `bench metrics`: how fast they are, against the limit and against other libraries.

`xaibench bench influence`, `bench store` and `bench size` are other modules'.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from xaibench.cli.bench_request import Bench, parsed, prepared
from xaibench.cli.bench_rows import FAILED, explanation, or_failed
from xaibench.cli.bench_tables import markdown

Tables = dict[str, pd.DataFrame]


def main(argv: list[str]) -> int:
    """Measure, print and write tables; 1 if a method failed."""
    if argv[:1] == ["influence"]:
        from xaibench.cli import bench_influence

        return bench_influence.main(argv[1:])
    if argv[:1] == ["store"]:
        from xaibench.cli import bench_store

        return bench_store.main(argv[1:])
    if argv[:1] == ["size"]:
        from xaibench.cli import bench_size

        return bench_size.main(argv[1:])
    options = parsed(argv)
    import torch

    torch.set_num_threads(options.threads)
    bench = prepared(options)
    if options.probe:
        print(json.dumps(_probe(bench)))
        return 0
    console = Console(width=None if Console().is_terminal else 160)
    tables = memory_tables(bench, console) if options.memory else speed_tables(bench, console)
    text = write(bench, tables)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {options.out}", highlight=False)
    return int(any(str(reason).startswith(FAILED) for table in tables.values() for reason in table.get("skipped", ())))


def speed_tables(bench: Bench, console: Console) -> Tables:
    """Tables of throughput, methods and peers."""
    from xaibench.bench import tune

    rows: dict[str, list[dict[str, Any]]] = {"throughput": [], bench.options.what: [], "peers": []}
    for model, problem in classifiers(bench):
        speeds, given = tune(problem(None), bench.options.repeats), None
        if bench.kind == "metric":
            explainer = bench.grid.explainers[0].component
            given = explanation(explainer, problem(explainer))
        rows["throughput"] += [model | vars(speed) for speed in speeds.values()]
        for label, method in track(bench.methods.items(), model["model"], console=console, disable=not console.is_terminal):
            named = model | {bench.kind: label}
            found = _explainers(bench, method, problem, speeds) if given is None else _metrics(bench, method, problem, speeds, given)
            own, peers = found
            rows[bench.options.what].append(named | own)
            rows["peers"] += [named | peer for peer in peers]
            say(console, bench.kind, rows[bench.options.what][-1])
            write(bench, {name: pd.DataFrame(found) for name, found in rows.items() if found})  # what is measured stays if the rest fails
    return {name: pd.DataFrame(found) for name, found in rows.items() if found}


def _explainers(bench: Bench, explainer: Any, problem: Any, speeds: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of an explainer, and those of its peers."""
    from xaibench.bench import explainer_row, peer_row
    from xaibench.peers import PEERS

    repeats = bench.options.repeats
    own = or_failed(explainer_row, explainer, problem(explainer), speeds, repeats)
    peers = PEERS.get(type(explainer).__name__, ()) if bench.options.peers else ()
    return own, [{"peer": peer.name} | or_failed(peer_row, explainer, peer, problem(explainer), repeats) for peer in peers]


def _metrics(bench: Bench, metric: Any, problem: Any, speeds: Any, given: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of a metric, on the explanations of one explainer, and those of its peers."""
    from xaibench.bench import metric_row
    from xaibench.metric_parity.speed import peer_rows

    if isinstance(given, str):
        return {"family": metric.family.value, "skipped": given}, []
    explainer, repeats, found = bench.grid.explainers[0].component, bench.options.repeats, problem(metric)
    own = or_failed(metric_row, metric, explainer, found, given, speeds, repeats)
    return own, peer_rows(metric, explainer, found, given, repeats) if bench.options.peers and "skipped" not in own else []


def memory_tables(bench: Bench, console: Console) -> Tables:
    """The table of peak memory, each number of images in a process of its own."""
    rows = []
    cases = [(label, count) for label in bench.methods for count in bench.options.memory_images.split(",")]
    for model, _ in classifiers(bench):  # trains what is not in the store, or each process would
        for label, count in track(cases, model["model"], console=console, disable=not console.is_terminal):
            rows.append(model | {bench.kind: label, "images": int(count)} | or_failed(_in_a_process, bench, model["model"], label, count))
            say(console, bench.kind, rows[-1])
    return {"memory": pd.DataFrame(rows)}


def classifiers(bench: Bench) -> Iterator[tuple[dict[str, Any], Callable[[Any], Any]]]:
    """For each trained network its names, and a function that gives a method's problem, or, for None, one without helpers."""
    from xaibench.identity import Explaining
    from xaibench.problem import Explainer, Training
    from xaibench.stages import Stages

    explainer, explain_on = bench.grid.explainers[0].component, bench.grid.explain_on[0].component
    stages = Stages(bench.settings.store, bench.settings.runtime)
    for dataset, model, trainer, seed in bench.grid.classifiers():
        training = Training(dataset.component, model.component, trainer.component, seed)
        stages.predict(training)

        def problem(chosen: Any, training: Training = training) -> Any:
            of_metric = [] if isinstance(chosen, Explainer) else [explainer]
            needs = {} if chosen is None else chosen.needs(training, *of_metric)
            return stages.problem(Explaining(training, explain_on, explainer), needs)

        yield {"dataset": dataset.name, "model": model.name, "seed": seed}, problem


def say(console: Console, kind: str, row: dict[str, Any]) -> None:
    """A line for what is done, where no bar is shown."""
    if not console.is_terminal:
        found = [f"{name}={row[name]:.3g}" for name in ("images_per_second", "ratio", "memory") if name in row]
        print(row["model"], row[kind], *(found or [row["skipped"]]), file=sys.stderr, flush=True)


def write(bench: Bench, tables: Tables) -> str:
    """The full tables as csv, the rounded ones as Markdown, which it gives, and where they come from."""
    from xaibench.environment import environment

    out, name = bench.options.out, "memory" if bench.options.memory else bench.options.what
    out.mkdir(parents=True, exist_ok=True)
    asked = {option: str(value) if isinstance(value, Path) else value for option, value in vars(bench.options).items()}
    provenance = environment(bench.settings.runtime.torch_device()) | {"options": asked}
    for title, table in tables.items():
        table.to_csv(out / f"{title}.csv", index=False, float_format="%.6g")
    text = markdown(tables, provenance)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    (out / f"{name}.provenance.json").write_text(json.dumps(provenance, indent=1), encoding="utf-8")
    return text


def _in_a_process(bench: Bench, model: str, label: str, count: str) -> dict[str, Any]:
    """`_probe` in a process of its own."""
    options, name = bench.options, label.partition("[")[0]
    others = {other.partition("[")[0] for other in bench.methods} - {name}
    overrides = [text for text in options.overrides if text.split(".")[0].lstrip("+") not in others]
    command = [
        "bench",
        options.what,
        "--probe",
        f"--{options.what}",
        name,
        "--explainer",
        options.explainer,
        "--model",
        model,
        "--images",
        count,
        *overrides,
    ]
    command += ["--dataset", options.dataset, "--targets", options.targets, "--device", options.device, "--threads", str(options.threads)]
    command += ["--config-dir", options.config_dir] if options.config_dir else []
    done = subprocess.run([sys.executable, "-m", "xaibench.cli.main", *command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _probe(bench: Bench) -> dict[str, Any]:
    """The memory that one method takes."""
    from xaibench.bench import memory_row, metric_memory_row
    from xaibench.scoring import unsupported

    (_, problem), method = next(classifiers(bench)), next(iter(bench.methods.values()))
    found, explainer = problem(method), bench.grid.explainers[0].component
    reason = unsupported(method, explainer, found) if bench.kind == "metric" else method.unsupported(found)
    given = explanation(explainer, problem(explainer)) if bench.kind == "metric" and not reason else None
    if reason or isinstance(given, str):
        return {"skipped": reason or given}
    return memory_row(method, found) if given is None else metric_memory_row(method, found, given)
