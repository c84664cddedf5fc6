"""Our counterfactuals beside those of alibi's TensorFlow implementations: same networks, images, targets and settings.

``python -m xaibench.alibi_parity environment FOLDER`` builds alibi's environment (about 2 GB), apart from ours;
``... reference --python FOLDER/bin/python`` exports the networks and runs alibi on them, which takes some minutes of one core;
``... compare`` searches the same pairs with ours, with ``--python`` also both in turns for timing;
``... draw`` makes the tables from what is there. All is written to results/alibi_parity/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from xaibench.alibi_parity import comparison, exporting, ours, timing
from xaibench.alibi_parity.tables import markdown
from xaibench.environment import environment
from xaibench.problem import Problem

FOLDER = Path("results/alibi_parity")
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
KEPT = ("images", "index", "labels", "predicted", "targets")

Array = np.ndarray


def main(arguments: list[str]) -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m xaibench.alibi_parity", description=__doc__)
    parser.add_argument("step", choices=("environment", "reference", "compare", "draw"))
    parser.add_argument("folder", type=Path, nargs="?", help="where the environment is built")
    parser.add_argument("--python", type=Path, help="the interpreter of alibi's environment")
    parser.add_argument("--images", type=int, default=10, help="each is searched for two targets")
    parser.add_argument("--timed", type=int, default=50, help="images that ours searches at once when it is timed")
    parser.add_argument("--turns", type=int, default=3, help="of the timing")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if chosen.step == "environment":
        build(chosen.folder)
    elif chosen.step == "reference":
        reference(exporting.load(chosen.images), chosen.python)
    elif chosen.step == "compare":
        problem = exporting.load(len(np.load(FOLDER / "reference.npz")["images"]))
        search(problem)
        if chosen.python is not None:
            timed = time_both(exporting.load(chosen.timed), chosen.python, chosen.turns)
            pd.DataFrame(timed).to_csv(FOLDER / "speed.csv", index=False, float_format="%.6g")
    if chosen.step in ("compare", "draw"):
        draw()
    return 0


def build(folder: Path) -> None:
    """A virtual environment with exactly the locked packages; alibi 0.9.6 and TensorFlow 2.14 need Python 3.11."""
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS], check=True)


def reference(problem: Problem, python: Path) -> None:
    """Run alibi on the exported networks, and keep networks, pairs and what it found."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exporting.export(problem, folder)
        subprocess.run([python, timing.SCRIPT, folder], check=True)
        keep(folder)


def keep(folder: Path) -> None:
    """Copy what the comparison needs from a folder where alibi has run."""
    given, found = np.load(folder / "problem.npz"), np.load(folder / "reference.npz")
    np.savez_compressed(FOLDER / "reference.npz", **{name: given[name] for name in KEPT}, **dict(found))
    (FOLDER / "networks.npz").write_bytes((folder / "networks.npz").read_bytes())
    facts = json.loads((folder / "reference.json").read_text())
    (FOLDER / "reference.json").write_text(json.dumps(facts | {"keys": exporting.keys()}, indent=1) + "\n")


def search(problem: Problem) -> None:
    """Our counterfactuals of the same pairs, and which of both are found by the one rule."""
    theirs, facts = dict(np.load(FOLDER / "reference.npz")), json.loads((FOLDER / "reference.json").read_text())
    if facts["keys"] != exporting.keys() or not np.array_equal(theirs["index"], problem.index.numpy()):
        raise ValueError("results/alibi_parity/reference.npz: expected the same networks and images; run the step 'reference' again")
    arrays: dict[str, Array] = {}
    for run, (name, output) in ours.RUNS.items():
        targets = ours.targets_of(name, problem, theirs[f"{name}.images"])
        mine = ours.arrays(ours.method(name, facts["settings"][name], output), ours.asking(problem, targets))
        mine |= {"targets": targets, "found": ours.judged(problem, mine["images"], targets)[0]}
        mine["alibi_found"] = ours.judged(problem, theirs[f"{name}.images"], targets)[0]
        arrays |= {f"{run}.{key}": value for key, value in mine.items()}
    np.savez_compressed(FOLDER / "ours.npz", **arrays)
    (FOLDER / "provenance.json").write_text(json.dumps(environment(torch.device("cpu")), indent=1) + "\n")


def rows(mine: Mapping[str, Array], theirs: Mapping[str, Array]) -> list[dict[str, Any]]:
    """One row for each of our runs."""
    found = []
    for run, (name, _) in ours.RUNS.items():
        origin = theirs["images"] * (name != "pertinent_positive")  # the size of what is kept, not of what is left out
        sides = [{"near": mine[f"{run}.images"], "found": mine[f"{run}.found"]}]
        sides.append({"near": theirs[f"{name}.images"], "found": mine[f"{run}.alibi_found"]})
        row = {"method": run} | comparison.row(origin, *sides)
        row |= {"own_ours": int(mine[f"{run}.own"].sum()), "own_alibi": int((~np.isnan(theirs[f"{name}.images"][..., 0, 0])).sum())}
        row |= {"seconds_ours": float(mine[f"{run}.seconds"]) / row["pairs"], "seconds_alibi": float(theirs[f"{name}.seconds"].mean())}
        row |= {"iterations_ours": float(mine[f"{run}.backward"].mean()), "iterations_alibi": float(theirs[f"{name}.iterations"].mean())}
        found.append(row)
    return found


def time_both(problem: Problem, python: Path, turns: int) -> list[dict[str, Any]]:
    """How fast both are, in turns."""
    with tempfile.TemporaryDirectory() as name:
        exporting.export(problem, Path(name))
        with timing.Alibi(python, Path(name)) as alibi:
            return timing.speed(problem, exporting.SETTINGS, alibi, turns)


def draw() -> None:
    """table.csv and table.md from what is there."""
    table = pd.DataFrame(rows(np.load(FOLDER / "ours.npz"), np.load(FOLDER / "reference.npz")))
    table.to_csv(FOLDER / "table.csv", index=False, float_format="%.6g")
    facts, speed = json.loads((FOLDER / "reference.json").read_text()), FOLDER / "speed.csv"
    text = markdown(table, facts, pd.read_csv(speed) if speed.exists() else None)
    (FOLDER / "table.md").write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
