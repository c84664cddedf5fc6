"""`xaibench bench size`: what every explainer and metric takes on large images, in processes with bounded memory."""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from xaibench.cli.bench_request import Bench, prepared
from xaibench.cli.bench_tables import SIZE_CAPTIONS, SIZE_COLUMNS, markdown
from xaibench.cli.request import Request
from xaibench.component import UserError

EXAMPLES = """examples:
  xaibench bench size                                                   ResNet-50 on 3 x 224 x 224, all explainers and metrics
  xaibench bench size --passes 300000 --device cuda --gigabytes 40      with all their usual passes, on a GPU
  xaibench bench size --explainers rise,lime --metrics none lime.samples=100
  xaibench bench size --dataset own/npz --model own/checkpoint dataset.path=... model.target=... model.weights=...

Each result is kept as it is found: the same command goes on where it was interrupted, and measures again what failed; with more
--passes, what took too many."""

TOO_MANY = "passes for one image, more than"
"""What `sizing` says of a method that more passes would allow."""

KINDS = ("explainers", "metrics")
TRAINING = {"trainer.epochs": 1, "trainer.batch_size": 8, "trainer.learning_rate": 0.001}
"""How the network is trained unless the command line says otherwise: in a minute, as nothing is said of its explanations' quality."""

FAILED = ("failed", "stopped", "needs more than")
"""How a reason begins that is no property of the method; it is measured again."""

ROWS = "rows "
"""How a line begins with which a process tells what it found."""

Row = dict[str, Any]
Case = tuple[str, str]


def main(argv: list[str]) -> int:
    """Measure, print and write the tables; 1 if a method failed."""
    options = parsed(argv)
    if options.probe:
        return answer(options)
    console = Console(width=None if Console().is_terminal else 160)
    benches = [prepared(of_kind(options, kind)) for kind in KINDS if getattr(options, kind) != "none"]
    cases = [("throughput", options.model), *((bench.options.what, label) for bench in benches for label in bench.methods)]
    results = Results(options)
    waiting = [case for case in cases if not results.has(*case)]
    for (kind, label), rows in track(
        measured(argv, options, waiting), "size", len(waiting), console=console, disable=not console.is_terminal
    ):
        results.add(kind, label, rows)
        console.print(kind, label, results.said(kind, label), highlight=False)
        if results.failed("throughput"):
            raise UserError(results.said(kind, label))
    console.print(results.text(), markup=False, highlight=False, soft_wrap=True)
    return int(any(results.failed(kind) for kind in KINDS))


def answer(options: argparse.Namespace) -> int:
    """Print the rows of each case that this process is asked for."""
    from xaibench.cli.bench_size_probe import probed

    cases = [(kind, label) for kind, label in json.loads(options.probe)]
    labels = {kind: [label for each, label in cases if each == kind] for kind in KINDS}
    benches = {kind: narrowed(options, kind, found) for kind, found in labels.items() if found}
    for rows in probed(options, benches or {"explainers": narrowed(options, "explainers", ["random"])}, cases):
        print(ROWS + json.dumps(rows), flush=True)
    return 0


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "xaibench bench size", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="fields of explainers or metrics, and overrides of `xaibench run`")
    for kind in KINDS:
        parser.add_argument(f"--{kind}", default="all", help="names, with commas; all (default), or none")
    parser.add_argument("--explainer", default="gradient", help="whose maps the metrics score (default: gradient)")
    parser.add_argument("--dataset", default="large/photographs", help="default: large/photographs")
    parser.add_argument("--model", default="large/resnet50", help="default: large/resnet50")
    parser.add_argument("--targets", default="predicted", help="classes to explain, as for the other benches (default: predicted)")
    parser.add_argument("--images", type=int, default=8, help="the most images, as far as they fit into the passes (default: 8)")
    parser.add_argument("--passes", type=int, default=24, help="forward and backward passes that a method may take (default: 24)")
    parser.add_argument("--seconds", type=int, default=900, help="after which a method is stopped (default: 900)")
    parser.add_argument("--gigabytes", type=float, default=6.0, help="of memory that a method may take, in GiB (default: 6)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--out", type=Path, default=Path("results/bench/size_224"), help="default: results/bench/size_224")
    parser.add_argument("--config-dir", help="folder with further components")
    parser.add_argument("--probe", help=argparse.SUPPRESS)  # a process that measures some methods
    return parser.parse_intermixed_args(argv)


def of_kind(options: argparse.Namespace, kind: str) -> argparse.Namespace:
    """What `bench_request.prepared` is asked for explainers or for metrics: without the fields of the other kind."""
    asked = copy.copy(options)
    (other,) = (each for each in KINDS if each != kind)
    others = Request(["--config-dir", options.config_dir] if options.config_dir else []).options(other.removesuffix("s"))
    given = [text for text in options.overrides if _root(text) not in others]
    named = {text.partition("=")[0].lstrip("+") for text in given}
    asked.what, asked.overrides = kind, [*(f"{name}={value}" for name, value in TRAINING.items() if name not in named), *given]
    return asked


def narrowed(options: argparse.Namespace, kind: str, labels: list[str]) -> Bench:
    """The benchmark of some methods."""
    asked, names = of_kind(options, kind), [label.partition("[")[0] for label in labels]
    known = Request(["--config-dir", options.config_dir] if options.config_dir else []).options(kind.removesuffix("s"))
    setattr(asked, kind, ",".join(names))
    asked.overrides = [text for text in asked.overrides if _root(text) not in known or _root(text) in names]
    return prepared(asked)


def measured(argv: list[str], options: argparse.Namespace, cases: list[Case]) -> Iterator[tuple[Case, list[Row]]]:
    """The rows of each case. One process does all, until a case stops it: another one goes on with the next."""
    while cases:
        command = [sys.executable, "-m", "xaibench.cli.main", "bench", "size", *argv, "--probe", json.dumps(cases)]
        with tempfile.TemporaryFile("w+") as told, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True) as process:
            going = True
            while cases and going:
                rows, late = next_rows(process, options.seconds)
                if rows is None:
                    going = False
                    process.kill()
                    process.wait()
                    told.seek(0)
                    last = [*told.read().strip().splitlines()[-1:], f"status {process.returncode}"][0]
                    rows = [{"skipped": f"stopped after {options.seconds} s" if late else f"failed: {last}"}]
                yield cases.pop(0), rows


def next_rows(process: subprocess.Popen[str], most: int) -> tuple[list[Row] | None, bool]:
    """The next rows that the process prints within so many seconds, or None; and whether it was too late."""
    assert process.stdout is not None
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(most, stop)
    timer.start()
    try:
        line = next((line for line in process.stdout if line.startswith(ROWS)), None)
    finally:
        timer.cancel()
    return None if line is None else json.loads(line.removeprefix(ROWS)), late.is_set()


class Results:
    """The tables of a folder, written whenever a row comes; rows of another command line are left behind."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        asked = {name: str(value) for name, value in vars(options).items() if name not in ("out", "probe", "seconds", "passes", *KINDS)}
        asked["overrides"] = str([text for text in options.overrides if not text.startswith("runtime.")])  # where, not what
        self.settings = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        self.tables = {kind: self._read(kind) for kind in ("throughput", *KINDS)}

    def has(self, kind: str, label: str) -> bool:
        """Whether this was measured, did not fail, and was not left out with fewer passes allowed than now."""
        rows = [row for row in self.tables[kind] if row["name"] == label and not _failed(row)]
        return any(TOO_MANY not in str(row.get("skipped")) or row["most"] >= self.options.passes for row in rows)

    def add(self, kind: str, label: str, rows: list[Row]) -> None:
        """Keep these rows in the place of what there is."""
        from xaibench.environment import commit

        known = {"settings": self.settings, "commit": str(commit())}
        named = {"dataset": self.options.dataset, "model": self.options.model, "name": label}
        kept = [row for row in self.tables[kind] if row["name"] != label]
        self.tables[kind] = sorted([*kept, *(named | row | known for row in rows)], key=lambda row: str(row["name"]))
        self._write()

    def failed(self, kind: str) -> bool:
        """Whether anything of this kind failed."""
        return any(_failed(row) for row in self.tables[kind])

    def said(self, kind: str, label: str) -> str:
        """A line of what was found."""
        row = next(row for row in self.tables[kind] if row["name"] == label)
        found = [f"{name}={row[name]:.3g}" for name in ("rate", "seconds", "ratio", "memory") if name in row and not pd.isna(row[name])]
        return " ".join(found) if found else str(row.get("skipped"))

    def text(self) -> str:
        """The rounded tables as Markdown."""
        import torch

        from xaibench.environment import environment

        tables = {kind: pd.DataFrame(rows) for kind, rows in self.tables.items() if rows}
        commits = dict.fromkeys(row["commit"] for rows in self.tables.values() for row in rows)
        device = torch.device(self.options.device)
        known = environment(device) | {"threads": self.options.threads, "commit": ", ".join(commits)}
        most = {int(row["most"]) for kind in KINDS for row in self.tables[kind] if not pd.isna(row.get("most"))}
        passes = " or ".join(f"{number:,}" for number in sorted(most or {self.options.passes}))
        bounds = f"at most {passes} passes and {self.options.gigabytes:g} GiB for each method"
        return f"`xaibench bench size` on {device.type}; seed 0; {bounds}.\n" + markdown(tables, known, SIZE_COLUMNS, SIZE_CAPTIONS)

    def _read(self, kind: str) -> list[Row]:
        path = self.options.out / f"{kind}.csv"
        if not path.exists():
            return []
        found: list[Any] = pd.read_csv(path).to_dict("records")
        return [row for row in found if row["settings"] == self.settings]

    def _write(self) -> None:
        self.options.out.mkdir(parents=True, exist_ok=True)
        for kind, rows in self.tables.items():
            if rows:
                pd.DataFrame(rows).to_csv(self.options.out / f"{kind}.csv", index=False, float_format="%.6g")
        (self.options.out / "size.md").write_text(self.text(), encoding="utf-8")


def _failed(row: Row) -> bool:
    return str(row.get("skipped")).startswith(FAILED)


def _root(text: str) -> str:
    return text.split(".")[0].split("=")[0].lstrip("+")
