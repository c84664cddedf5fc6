"""Our influence of pixels beside that of ethik 0.0.4: same images, same predictions, same targets.

``python -m xaibench.ethik_parity environment FOLDER`` builds ethik's environment, apart from ours;
``... compare --python FOLDER/bin/python`` runs both on MNIST's test images and the predictions of study F's network, ethik once and ours
before and after it. All is written to results/influence_parity/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from xaibench import markdown as md
from xaibench.datasets.mnist import Mnist
from xaibench.environment import environment
from xaibench.ethik_parity.comparison import table
from xaibench.influence.reweighting import Reweighted, reweighted
from xaibench.models.conv32_conv64_dense128 import Conv32Conv64Dense128
from xaibench.problem import Training
from xaibench.stages import Runtime, Stages, arrays_of
from xaibench.store import Store
from xaibench.training import Trainer

FOLDER = Path("results/influence_parity")
REQUIREMENTS, SCRIPT = (Path(__file__).with_name(name) for name in ("requirements.txt", "reference.py"))
TAUS = (-1.0, 0.0, 1.0)

NOTE = """Pixels of the MNIST test images by tau; ethik and ours are given the same probabilities. `residual`: the largest |weighted mean of
the pixel - target|, as a share of the pixel's range. `difference`: the largest between the two influences on any class.
`at_its_mean`: the same, when ours goes to the mean that ethik really reached: the two then solve one problem. ethik stops where the mean is
within a hundredth of the pixel's standard deviation of the target, and says that it converged."""


def main(arguments: list[str]) -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m xaibench.ethik_parity", description=__doc__)
    parser.add_argument("step", choices=("environment", "compare"))
    parser.add_argument("folder", type=Path, nargs="?", help="where the environment is built")
    parser.add_argument("--python", type=Path, help="the interpreter of ethik's environment")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=5, help="timings of ours before and after ethik's")
    chosen = parser.parse_args(arguments)
    if chosen.step == "environment":
        venv.create(chosen.folder, with_pip=True)
        subprocess.run([chosen.folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS], check=True)
    else:
        compare(chosen.python, chosen.images, chosen.turns)
    return 0


def compare(python: Path, images: int, turns: int) -> None:
    """Run both, and write what they found."""
    pixels, probabilities = predictions(images)
    flat = pixels.reshape(len(pixels), -1)
    spent = [timed(flat, probabilities)[1] for _ in range(turns)]
    theirs, facts = ethik(python, pixels, probabilities)
    spent += [timed(flat, probabilities)[1] for _ in range(turns)]
    facts |= {"our_seconds": float(np.median(spent)), "times_faster": facts["seconds"] / float(np.median(spent))}
    found = table(timed(flat, probabilities)[0], theirs, flat, probabilities)
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FOLDER / "reference.npz", probabilities=probabilities.astype(np.float32), **theirs)
    found.to_csv(FOLDER / "table.csv", index=False, float_format="%.4g")
    (FOLDER / "reference.json").write_text(json.dumps(facts | {"environment": environment(torch.device("cpu"))}, indent=1) + "\n")
    (FOLDER / "table.md").write_text(markdown(found, facts))


def predictions(images: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 28, 28), 8 bits, and (N, 10), float64 of float32: the first test images and what study F's network gives them."""
    training = Training(Mnist(), Conv32Conv64Dense128(), Trainer(), 0)
    logits = Stages(Store(Path("results/store")), Runtime(device="cpu")).predict(training).tensors["logits"]
    pixels = (arrays_of(training.dataset).test.images[:images, 0] * 255).round().to(torch.uint8)
    return pixels.numpy(), logits[:images].softmax(1).numpy().astype(np.float64)


def timed(flat: np.ndarray, probabilities: np.ndarray) -> tuple[Reweighted, float]:
    """Ours, and how many seconds it took."""
    start = time.perf_counter()
    found = reweighted(flat, probabilities, TAUS)
    return found, time.perf_counter() - start


def ethik(python: Path, pixels: np.ndarray, probabilities: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What ethik finds, and versions and seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "problem.npz", images=pixels, probabilities=probabilities)
        subprocess.run([python, SCRIPT, folder], check=True)
        return dict(np.load(folder / "reference.npz")), json.loads((folder / "reference.json").read_text())


def markdown(found: pd.DataFrame, facts: dict[str, Any]) -> str:
    """The table, with what it means and the times."""
    rows = ([f"{value:.3g}" if isinstance(value, float) else value for value in row.values()] for row in found.to_dict("records"))
    lines = md.table(list(found), rows, "r")
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    times = f"{facts['images']:,} images: ethik {facts['seconds']:.1f} s on all cores, ours {facts['our_seconds']:.2f} s"
    return "\n".join([NOTE, "", *lines, "", f"{times} (before and after it): {facts['times_faster']:.0f} times faster. {versions}.", ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
