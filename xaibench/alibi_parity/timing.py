"""Both libraries timed in turns on one core: alibi's answers come from its own process, ours search all pairs at once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from xaibench.alibi_parity import ours
from xaibench.problem import Problem

SCRIPT = Path(__file__).with_name("reference.py")

TIMED = ("wachter", "guided_by_prototypes")
FEWER = {"c_steps": 1, "max_iterations": 100}
"""So many iterations guided by prototypes tell how long ours takes for one."""

SIDES = ("white_box", "black_box")


class Alibi:
    """alibi's process, while it serves."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.process = subprocess.Popen([str(python), str(SCRIPT), str(folder), "--serve"], stdin=-1, stdout=-1, stderr=-3, text=True)

    def __enter__(self) -> Alibi:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def ask(self, name: str, pair: int) -> dict[str, Any]:
        """What one search took: CPU seconds and iterations."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(name, pair, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        raise RuntimeError(f"alibi's process ended with {self.process.wait()}: expected an answer to {name} {pair}")


def speed(problem: Problem, settings: dict[str, Any], alibi: Alibi, turns: int) -> list[dict[str, Any]]:
    """One row for each method: milliseconds of CPU for an iteration of a pair, and how many times faster ours is, median of the turns.

    An iteration of ours is one that sends a pair through the classifier and back. As a black box, alibi makes few iterations; a first
    one is not counted, since TensorFlow then prepares its graph.
    """
    rows = []
    for name in TIMED:
        explainer = ours.method(name, settings[name] | FEWER)
        ours.timed(explainer, problem.take(slice(0, 2)))
        spent: dict[str, list[float]] = {side: [] for side in ("ours", *SIDES)}
        for turn in range(turns):
            found, seconds = ours.timed(explainer, problem)
            spent["ours"].append(1e3 * seconds / int(found.backward.sum()))
            for side, asked in zip(SIDES, (name, f"{name}.black_box"), strict=True):
                alibi.ask(f"{name}.black_box", turn) if side == "black_box" else None
                answer = alibi.ask(asked, turn)
                spent[side].append(1e3 * answer["seconds"] / answer["iterations"])
        row: dict[str, Any] = {"method": name, "pairs_at_once": problem.targets.numel(), "turns": turns}
        row |= {f"{side}_milliseconds": float(np.median(values)) for side, values in spent.items()}
        rows.append(row | {f"times_{side}": float(np.median(np.divide(spent[side], spent["ours"]))) for side in SIDES})
    return rows
