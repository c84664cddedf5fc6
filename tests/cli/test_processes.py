"""Several processes and one store: a killed sweep goes on where it was, and two sweeps do nothing twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from cli_cases import Bench, OutOfTree

COUNTING = '''
import os
import time
from dataclasses import dataclass
from pathlib import Path

from xaibench.explainers.gradient import Gradient
from xaibench.metrics.sparseness import Sparseness


def told(what):
    with Path(os.environ["TOLD"]).open("a") as file:
        file.write(what + "\\n")


@dataclass(frozen=True)
class Counting(Gradient):
    """Tells when it is called, and waits."""

    number: int = 0

    def __call__(self, problem, rng):
        told(f"explain {self.number}")
        time.sleep(float(os.environ.get(f"WAIT_{self.number}", "0")))
        return super().__call__(problem, rng)


@dataclass(frozen=True)
class CountingMetric(Sparseness):
    """Tells when it is called."""

    def __call__(self, problem, explanation, rng):
        told("evaluate")
        return super().__call__(problem, explanation, rng)
'''


def prepare(bench: Bench, out_of_tree: OutOfTree) -> tuple[str, ...]:
    out_of_tree.add("explainer", "counting", "counting.Counting", COUNTING)
    out_of_tree.add("metric", "counting_metric", "counting.CountingMetric", COUNTING)
    return (*out_of_tree.flags, "-m", "explainer=counting", "explainer.number=0,1,2", "metric=counting_metric,deletion")


def start(bench: Bench, out_of_tree: OutOfTree, given: tuple[str, ...], **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "xaibench.cli.main", "run", *bench.arguments(*given)]
    paths = {"PYTHONPATH": str(out_of_tree.modules), "TOLD": str(bench.folder / "told")}
    return subprocess.Popen(
        command,
        env=os.environ | paths | environment,
        cwd=bench.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def told(bench: Bench) -> list[str]:
    file: Path = bench.folder / "told"
    return sorted(file.read_text().splitlines()) if file.exists() else []


def test_a_killed_sweep_goes_on_where_it_was(bench, out_of_tree, monkeypatch):
    given = prepare(bench, out_of_tree)
    process = start(bench, out_of_tree, given, WAIT_1="120")
    deadline = time.monotonic() + 100
    while "explain 1" not in told(bench) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)  # in the middle of the second explanation, which holds its lock
    assert process.wait() == -signal.SIGKILL, process.communicate()[0]
    process.stdout.close()
    kept = bench.written()
    assert bench.made() == {"train": 1, "predict": 1, "explain": 1, "evaluate": 0}
    (bench.store.root / "explain" / ".0123456789ab-left").mkdir()  # as a writer leaves it that is killed while it writes
    assert bench.counts(*given)["evaluate"] == (0, 6, 0)
    monkeypatch.setenv("TOLD", str(bench.folder / "told"))
    (bench.folder / "told").unlink()
    outcome = bench.run(*given)
    assert outcome.status == 0, outcome.out
    assert "damaged" not in outcome.out + outcome.err
    assert told(bench) == ["evaluate", "evaluate", "evaluate", "explain 1", "explain 2"]
    assert kept.items() <= bench.written().items()
    assert bench.made() == {"train": 1, "predict": 1, "explain": 3, "evaluate": 6}
    assert pd.read_csv(bench.results / "sweep" / "table.csv")["explainer"].nunique() == 3


def test_two_sweeps_at_the_same_time_compute_each_cell_once(bench, out_of_tree):
    given = prepare(bench, out_of_tree)
    # The first explanation takes long enough for both to want it.
    both = [start(bench, out_of_tree, (*given, f"study=sweep_{number}"), WAIT_0="4") for number in (1, 2)]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert told(bench) == ["evaluate"] * 3 + [f"explain {number}" for number in (0, 1, 2)]
    assert bench.made() == {"train": 1, "predict": 1, "explain": 3, "evaluate": 6}
    assert sum(text.count("INFO training") for text in printed) == 1
    assert bench.tables("sweep_1") == bench.tables("sweep_2")
    assert not list(bench.store.root.glob("*/.*"))
