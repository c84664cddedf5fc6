"""The command line in this process: its exit status and what it prints, a store of its own, and out-of-tree components."""

import contextlib
import importlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from xaibench import keys
from xaibench.cli.compose import composed
from xaibench.cli.main import main
from xaibench.cli.request import Request
from xaibench.planning import Planned, plan
from xaibench.store import Store

SMALL = ("trainer.epochs=1", "explain_on.count=20", "explain_on.background=10", "runtime.threads=1", "runtime.device=cpu")
STAGES = ("train", "predict", "explain", "evaluate")
TABLES = ("table.csv", "table.md", "table.tex", "scores.parquet")


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Bench:
    """A folder with a store and results; commands run in this process and are small unless `small` is emptied."""

    folder: Path
    small: tuple[str, ...] = SMALL

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def arguments(self, *given: str) -> list[str]:
        places = [f"runtime.results={self.results}", f"runtime.store={self.store.root}"]
        figures = [] if any(text.startswith(("figures", "experiment", "--")) for text in given) else ["figures=[]"]
        taken = {text.partition("=")[0] for text in given}
        return [*places, *figures, *(text for text in self.small if text.partition("=")[0] not in taken), *given]

    def __call__(self, command: str, *given: str) -> Outcome:
        return self.typed(command, *self.arguments(*given))

    def typed(self, *line: str) -> Outcome:
        """A command line as it is."""
        with isolated(), contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = main(list(line))
        return Outcome(status, out.getvalue(), err.getvalue())

    def run(self, *given: str) -> Outcome:
        return self("run", *given)

    def plan(self, *given: str) -> list[Planned]:
        return plan(composed(Request(self.arguments(*given)))[0], self.store)

    def states(self, *given: str) -> dict[str, str]:
        """State of each cell, by explainer and metric."""
        return {f"{item.cell.explainer.name} {item.cell.metric.name}": item.status for item in self.plan(*given)}

    def counts(self, *given: str) -> dict[str, tuple[int, ...]]:
        """Cached and to do of each stage, and skipped of the last two, as `xaibench plan` prints them."""
        lines = [line.replace("│", " ").split() for line in self("plan", *given).out.splitlines()]
        return {line[0]: tuple(map(int, line[1:4])) for line in lines if line and line[0] in STAGES}

    def written(self) -> dict[str, int]:
        """When each result's files were written."""
        return {str(path): path.stat().st_mtime_ns for path in self.store.root.glob("*/*/*") if path.is_file()}

    def made(self) -> dict[str, int]:
        """How many results each stage has."""
        return {stage: len(self.store.keys(stage)) for stage in STAGES}

    def tables(self, study: str = "sweep") -> dict[str, bytes]:
        return {name: (self.results / study / name).read_bytes() for name in TABLES}


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Logging, threads, paths and environment are as before afterwards: Hydra and a job set them for a process of their own."""
    root, paths = logging.getLogger(), list(sys.path)
    handlers, level, threads, environment = list(root.handlers), root.level, torch.get_num_threads(), dict(os.environ)
    root.handlers = []
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers, root.level = handlers, level
        sys.path[:] = paths
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ.update(environment)


class OutOfTree:
    """A folder for ``--config-dir``, and modules beside it that can be imported and changed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.conf, self.modules = folder / "conf", folder / "modules"
        self.modules.mkdir(parents=True)
        self.conf.mkdir()
        monkeypatch.syspath_prepend(str(self.modules))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def add(self, group: str, name: str, target: str, code: str) -> None:
        """A component, or a new version of it."""
        module = target.rpartition(".")[0]
        (self.modules / f"{module}.py").write_text(code)
        (self.conf / group).mkdir(exist_ok=True)
        (self.conf / group / f"{name}.yaml").write_text(f"_target_: {target}\n")
        # As a new process would see it.
        sys.modules.pop(module, None)
        importlib.invalidate_caches()
        keys.fingerprint.cache_clear()
        keys._facts.cache_clear()
        keys._code.cache_clear()

    @property
    def flags(self) -> list[str]:
        return ["--config-dir", str(self.conf)]
