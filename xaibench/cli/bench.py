"""`xaibench bench explainers` and `bench metrics`: how fast they are, against the limit and against other libraries."""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from xaibench.cli.bench_tables import markdown
from xaibench.cli.compose import composed
from xaibench.cli.request import Request
from xaibench.component import ConfigurationError, UserError, build

EXAMPLES = """examples:
  xaibench bench explainers                                              all of them on MNIST, 64 images
  xaibench bench explainers --explainers integrated_gradients,occlusion --peers
  xaibench bench explainers --explainers kernel_shap --peers kernel_shap.samples=2000
  xaibench bench explainers --explainers deep_shap --peers --targets all explain_on.background=100
  xaibench bench explainers --explainers rise --memory                   peak memory of 1,000 and of 10,000 images
  xaibench bench explainers --device cuda --images 1000
  xaibench bench metrics --peers                                         all of them, and Quantus's, on maps of --explainer
  xaibench bench metrics --metrics deletion,road --images 1000 deletion.steps=100

Further arguments are fields of the explainers or metrics (NAME.FIELD=VALUE) or overrides of `xaibench run` (trainer.epochs=1, seed=3,
runtime.store=FOLDER). Networks are trained as `run` does, or taken from the store."""

Tables = dict[str, pd.DataFrame]

log = logging.getLogger(__name__)

FAILED = "failed"


@dataclass(frozen=True)
class Bench:
    """What a command line asks for: the options, the composed grid and settings, and the explainers or metrics by label."""

    options: argparse.Namespace
    grid: Any
    settings: Any
    methods: dict[str, Any]

    @property
    def kind(self) -> str:
        """``explainer`` or ``metric``."""
        return self.options.what.removesuffix("s")


def main(argv: list[str]) -> int:
    """Measure, print and write tables; 1 if a method failed."""
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
    console.print(text, markup=False, highlight=False)
    console.print(f"written to {options.out}", highlight=False)
    return int(any(str(reason).startswith(FAILED) for table in tables.values() for reason in table.get("skipped", ())))


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "xaibench bench", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["explainers", "metrics"], help="what is measured")
    parser.add_argument("overrides", nargs="*", help="fields of explainers or metrics, and overrides of `xaibench run`")
    parser.add_argument("--explainers", default="all", help="names, with commas, or all (default)")
    parser.add_argument("--metrics", default="all", help="names, with commas, or all (default)")
    parser.add_argument("--explainer", default="gradient", help="whose maps the metrics score (default: gradient)")
    parser.add_argument("--dataset", default="mnist", help="default: mnist")
    parser.add_argument("--model", default="conv10_conv20_dense50", help="names, with commas (default: conv10_conv20_dense50)")
    parser.add_argument("--images", type=_positive, default=64, help="test images to explain (default: 64)")
    parser.add_argument("--targets", default="predicted", help="classes to explain: predicted (default), label, all")
    parser.add_argument(
        "--peers", action="store_true", help="also captum's, shap's and Quantus's implementations of the same, at equal settings"
    )
    parser.add_argument(
        "--repeats", type=_positive, default=3, help="turns, fewer for what takes minutes; ratios are their medians (default: 3)"
    )
    parser.add_argument("--memory", action="store_true", help="peak memory of 1,000 and of 10,000 images instead of speed")
    parser.add_argument("--memory-images", default="1000,10000", help="other numbers of images for that")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1")
    parser.add_argument("--threads", type=_positive, default=2, help="default: 2")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder for the tables (default: results/bench)")
    parser.add_argument("--config-dir", help="folder with further components")
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)  # a process that measures one explainer's memory
    return parser.parse_intermixed_args(argv)


def prepared(options: argparse.Namespace) -> Bench:
    """The grid and the methods, checked before anything is trained."""
    kind = options.what.removesuffix("s")
    more = ["--config-dir", options.config_dir] if options.config_dir else []
    known = Request(more).loader.get_group_options(kind)
    fields = [text for text in options.overrides if text.split(".")[0].lstrip("+") in known]
    lines = [
        *(f"dataset={options.dataset}", f"model={options.model}", f"explain_on.count={options.images}", "figures=[]"),
        *(f"explain_on.targets={options.targets}", f"runtime.device={options.device}", f"runtime.threads={options.threads}"),
        *([f"explainer={options.explainer}"] if kind == "metric" else []),
        *(text for text in options.overrides if text not in fields),
    ]
    request, asked = Request([*more, *lines]), getattr(options, options.what)
    names = known if asked == "all" else [name.strip() for name in asked.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(f"--{options.what} {unknown[0]}: expected all, or names among {', '.join(known)}")
    astray = [text for text in fields if text.split(".")[0].lstrip("+") not in names]
    if astray:
        raise ConfigurationError(f"{astray[0]}: expected a field of a chosen {kind} ({', '.join(names)})")
    grid, settings = composed(request)
    return Bench(options, grid, settings, _methods(request, kind, names, [text.lstrip("+") for text in fields]))


def speed_tables(bench: Bench, console: Console) -> Tables:
    """Tables of throughput, methods and peers."""
    from xaibench.bench import tune

    measured = _metrics if bench.kind == "metric" else _explainers
    rows: dict[str, list[dict[str, Any]]] = {"throughput": [], bench.options.what: [], "peers": []}
    for model, problem in classifiers(bench):
        speeds = tune(problem(None), bench.options.repeats)
        rows["throughput"] += [model | vars(speed) for speed in speeds.values()]
        for label, method in track(bench.methods.items(), model["model"], console=console, disable=not console.is_terminal):
            named = model | {bench.kind: label}
            own, peers = measured(bench, method, problem, speeds)
            rows[bench.options.what].append(named | own)
            rows["peers"] += [named | peer for peer in peers]
            say(console, bench.kind, rows[bench.options.what][-1])
    return {name: pd.DataFrame(found) for name, found in rows.items() if found}


def _explainers(bench: Bench, explainer: Any, problem: Any, speeds: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of an explainer, and those of its peers."""
    from xaibench.bench import explainer_row, peer_row
    from xaibench.peers import PEERS

    repeats = bench.options.repeats
    own = or_failed(explainer_row, explainer, problem(explainer), speeds, repeats)
    peers = PEERS.get(type(explainer).__name__, ()) if bench.options.peers else ()
    return own, [{"peer": peer.name} | or_failed(peer_row, explainer, peer, problem(explainer), repeats) for peer in peers]


def _metrics(bench: Bench, metric: Any, problem: Any, speeds: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of a metric, on the maps of one explainer, and those of its peers."""
    from functools import partial

    from xaibench.bench import metric_row, rng_of
    from xaibench.explaining import explained
    from xaibench.metric_parity.speed import peer_rows

    explainer, repeats = bench.grid.explainers[0].component, bench.options.repeats
    again = partial(explained, explainer, rng=rng_of(explainer))
    found = problem(metric)
    explanation = replace(again(problem(None)), again=again)
    own = or_failed(metric_row, metric, explainer, found, explanation, speeds, repeats)
    return own, peer_rows(metric, explainer, found, explanation, repeats) if bench.options.peers and "skipped" not in own else []


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
    from xaibench.problem import Training
    from xaibench.stages import Stages
    from xaibench.store import Store

    explainer, explain_on = bench.grid.explainers[0].component, bench.grid.explain_on[0].component
    stages = Stages(Store(bench.settings.store), bench.settings.runtime)
    for dataset, model, trainer, seed in bench.grid.classifiers():
        training = Training(dataset.component, model.component, trainer.component, seed)
        stages.predict(training)

        def problem(chosen: Any, training: Training = training) -> Any:
            needs = {} if chosen is None else chosen.needs(training, *([explainer] if bench.kind == "metric" else []))
            return stages.problem(Explaining(training, explain_on, explainer), needs)

        yield {"dataset": dataset.name, "model": model.name, "seed": seed}, problem


def or_failed(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """A row, or that the method failed: the others go on."""
    try:
        return measure(*arguments)
    except UserError as error:
        return {"skipped": str(error)}
    except Exception as error:
        log.exception("failed")
        return {"skipped": f"{FAILED}: {type(error).__name__}: {error}"}


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


def _methods(request: Request, kind: str, names: list[str], fields: list[str]) -> dict[str, Any]:
    """The explainers or metrics with these fields, by name and fields."""
    from omegaconf import OmegaConf

    lines = [f"+{kind}@entries.{name}={name}" for name in names] + [f"++entries.{text}" for text in fields]
    specs: Any = OmegaConf.to_container(request.compose(lines)["entries"], resolve=True)
    found = {}
    for name in names:
        own = ", ".join(text.partition(".")[2] for text in fields if text.split(".")[0] == name)
        found[f"{name}[{own}]" if own else name] = build(specs[name], name)
    return found


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

    (_, problem), method = next(classifiers(bench)), next(iter(bench.methods.values()))
    found, explainer = problem(method), bench.grid.explainers[0].component
    reason = method.unsupported(found, *([explainer] if bench.kind == "metric" else []))
    if reason:
        return {"skipped": reason}
    return metric_memory_row(method, explainer, found) if bench.kind == "metric" else memory_row(method, found)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected an integer >= 1")
    return number
