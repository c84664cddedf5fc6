"""ethik's influence of our predictions: a script for an environment of its own, which knows nothing of the benchmark.

``ENVIRONMENT/bin/python reference.py FOLDER`` reads problem.npz there (`images` (N, 28, 28) of 8 bits, `probabilities` (N, K)) and writes
reference.npz and reference.json beside it: for each pixel and tau the target, the multiplier, what the weighted mean really is, whether
ethik says that it converged, and the influence on each class.
"""

from __future__ import annotations

import json
import platform
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")
import pandas as pd  # noqa: E402
from ethik import ImageClassificationExplainer  # type: ignore[import-untyped, import-not-found, unused-ignore]  # noqa: E402

PACKAGES = ("ethik", "numpy", "pandas", "scipy")
JOBS = -1
"""All cores, ethik's default."""


def main(folder: Path) -> None:
    """Explain, and write what was found and how long it took."""
    given = np.load(folder / "problem.npz")
    images, probabilities = given["images"].astype(np.float64), given["probabilities"]
    explainer = ImageClassificationExplainer(n_jobs=JOBS, memoize=False, verbose=False)
    start, spent = time.perf_counter(), time.process_time()
    table = explainer.explain_influence(images, pd.DataFrame(probabilities))
    seconds, cpu = time.perf_counter() - start, time.process_time() - spent
    np.savez_compressed(folder / "reference.npz", **arrays(table, images.reshape(len(images), -1)))
    facts = {"versions": {name: version(name) for name in PACKAGES}, "python": platform.python_version(), "jobs": JOBS}
    facts |= {"images": len(images), "seconds": seconds, "cpu_seconds_of_this_process": cpu}
    (folder / "reference.json").write_text(json.dumps(facts, indent=1) + "\n")


def arrays(table: pd.DataFrame, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """(784, S) each, and the influence (784, S, K); pixels row by row, taus ascending."""
    side = int(pixels.shape[1] ** 0.5)
    number = {feature: feature[0] * side + feature[1] for feature in set(table["feature"])}
    table = table.assign(pixel=table["feature"].map(number), tau=table["tau"].astype(float), label=table["label"].astype(int))
    table = table.sort_values(["pixel", "tau", "label"])
    taus, classes = np.sort(table["tau"].unique()), table["label"].nunique()
    shape = (pixels.shape[1], len(taus), classes)
    found = {name: table[name].to_numpy(dtype=float).reshape(shape) for name in ("target", "ksi", "converged", "influence")}
    reached = np.empty(shape[:2])
    for pixel, column in enumerate(pixels.T):
        scaled = (column - column.mean()) / (column.std(ddof=1) or 1.0)
        logits = scaled[:, None] * found["ksi"][pixel, :, 0]
        weights = np.exp(logits - logits.max(axis=0))
        reached[pixel] = column @ weights / weights.sum(axis=0)
    per_tau = {name: found[name][..., 0] for name in ("target", "ksi", "converged")}
    return per_tau | {"taus": taus, "reached": reached, "influence": found["influence"]}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
