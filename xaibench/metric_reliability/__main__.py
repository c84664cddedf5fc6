"""The reliability of eight metrics on MNIST and Fashion-MNIST, beside what MetaQuantus found (Hedström et al. 2023, arXiv:2302.07265).

``python -m xaibench.metric_reliability`` writes results/metric_reliability/: reliability.csv (one row for each data set, metric, test and
score), table.md, reliability.png and provenance.json. Scores are stored cell by cell in results/store: a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from xaibench import explaining, keys
from xaibench.datasets.fashion_mnist import FashionMnist
from xaibench.datasets.mnist import Mnist
from xaibench.environment import environment
from xaibench.explainers.expected_gradients import ExpectedGradients
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.occlusion import Occlusion
from xaibench.explainers.saliency import Saliency
from xaibench.identity import Explaining, predict_key
from xaibench.metric_reliability.meta_evaluation import NAMES, Reliability, Trial, reliability, together, undefined
from xaibench.metric_reliability.tables import AGAIN, BOTH, COLUMNS, INPUT, MODEL, PIXEL_FLIPPING, REVERSED, draw, markdown
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.entropy import Entropy
from xaibench.metrics.faithfulness_correlation import FaithfulnessCorrelation
from xaibench.metrics.local_lipschitz import LocalLipschitz
from xaibench.metrics.max_sensitivity import MaxSensitivity
from xaibench.metrics.mprt import Mprt
from xaibench.metrics.random_logit import RandomLogit
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.perturb import logits
from xaibench.problem import Attributions, Explainer, Problem, Training
from xaibench.removal import UniformNoise
from xaibench.scoring import Metric, scored
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Artifact, Store
from xaibench.training import Trainer

STAGE, VERSION = "metric_reliability", 1
FOLDER = Path("results/metric_reliability")
DATASETS = {"MNIST": Mnist(), "Fashion-MNIST": FashionMnist()}
NETWORK, TRAINER = Conv10Conv20Dense50(), Trainer()

EXPLAINERS: tuple[Explainer, ...] = (
    Gradient(),
    Saliency(),
    IntegratedGradients(steps=10),
    GradCam(),
    Occlusion(patch=7, stride=5),
    ExpectedGradients(samples=10),
)
"""The six of the authors' configuration for MNIST; expected gradients are their GradientSHAP. Theirs leave strides and steps open."""

# As in the authors' configuration: 56 pixels at once, drawn baselines, 10 draws, rank correlation of signed maps, logits. Their Gaussian
# noise for the Lipschitz estimate has the standard deviation .01, as uniform noise of this radius has.
METRICS: dict[str, Metric] = {
    "Sparseness": Sparseness(),
    "Complexity": Entropy(),
    "Faithfulness Correlation": FaithfulnessCorrelation(fraction=56 / 784, samples=10, removal=UniformNoise(), output="logit"),
    PIXEL_FLIPPING: Deletion(steps=14, removal=UniformNoise(), output="logit"),
    "Random Logit": RandomLogit(similarity="spearman", absolute=False),
    "MPRT": Mprt(order="independent", absolute=False),
    "Max-Sensitivity": MaxSensitivity(samples=10, radius=0.01),
    "Local Lipschitz": LocalLipschitz(samples=10, radius=0.01 * math.sqrt(3)),
}

SAME_DRAWS = frozenset({Mprt})
"""Metrics that draw the same in every repetition, as in the authors' code: MPRT's random parameters are those of a fixed seed."""

LEVELS = {MODEL: {"small": 0.001, "strong": 2.0}, INPUT: {"small": 0.001, "strong": 5.0}}
LEVELS[AGAIN] = LEVELS[INPUT]
"""Standard deviation of the factors of the weights, and largest change of a pixel: the authors' levels."""


@dataclass(frozen=True)
class Size:
    """How much is computed."""

    images: int
    iterations: int
    perturbations: int


@dataclass(frozen=True)
class Condition:
    """The same perturbation several times; without one where `test` is empty.

    Every repetition has its own draws: of the perturbation, of the explainers, and of the metrics but for `SAME_DRAWS`.
    """

    problem: Problem
    seed: int
    test: str = ""
    strength: str = ""
    iteration: int = 0
    repetitions: int = 1

    def rng(self, component: str, repetition: int, test: str = "") -> Rng:
        """Draws that depend on nothing but these names and numbers."""
        name = "/".join((component, test or self.test, self.strength))
        return Rng(self.seed, 1000 * self.iteration + repetition, name)

    @cached_property
    def problems(self) -> list[Problem]:
        """What is explained, perturbed."""
        if not self.test:
            return [self.problem]
        level, change = LEVELS[self.test][self.strength], noisy_model if self.test == MODEL else noisy_images
        # both tests of the input see the same images
        draws = (self.rng("noise", k, MODEL if self.test == MODEL else INPUT) for k in range(self.repetitions))
        return [change(self.problem, level, rng) for rng in draws]

    @cached_property
    def explanations(self) -> list[list[Attributions]]:
        """The maps that are scored, for each repetition and explainer."""
        clean = self.test == INPUT
        return [
            [explained(explainer, self.problem if clean else problem, self.rng(type(explainer).__name__, k)) for explainer in EXPLAINERS]
            for k, problem in enumerate(self.problems)
        ]

    @cached_property
    def predicted(self) -> Tensor:
        """(K, N): the predicted classes."""
        return torch.stack([logits(one, len(one.images), partial(torch.index_select, one.images, 0)).argmax(1) for one in self.problems])

    def scores(self, metric: Metric) -> Tensor:
        """(K, L, N)."""
        found = []
        for k, (problem, maps) in enumerate(zip(self.problems, self.explanations, strict=True)):
            rng = Rng(self.seed) if type(metric) in SAME_DRAWS else self.rng(type(metric).__name__, k)
            found.append(torch.stack([scored(metric, problem, one, rng).values["value"][:, 0] for one in maps]))
        return torch.stack(found)


def noisy_images(problem: Problem, level: float, rng: Rng) -> Problem:
    """Uniform noise in [-level, level] is added to every value, and the image clipped to [0, 1]."""
    noise = rng.each(problem.index).uniform(*problem.images.shape[1:]) * 2 - 1
    return replace(problem, images=(problem.images + level * noise).clamp(0, 1), probabilities=None)


def noisy_model(problem: Problem, level: float, rng: Rng) -> Problem:
    """Every parameter of a copy of the classifier is multiplied by a normal number of mean 1 and standard deviation `level`."""
    network: nn.Module = copy.deepcopy(problem.classifier)
    generator = rng.shared()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1 + level * torch.randn(parameter.shape, generator=generator).to(parameter.device))
    return replace(problem, model=network, probabilities=None)


def explained(explainer: Explainer, problem: Problem, rng: Rng) -> Attributions:
    """Maps divided by the root of their mean square, as the authors' are, that can be explained again; an all-zero map stays."""
    values = explaining.explained(explainer, problem, rng).values
    size = values.square().mean(dim=(2, 3, 4), keepdim=True).sqrt()
    return Attributions(values / size.masked_fill(size == 0, 1), again=partial(explained, explainer, rng=rng))


def conditions(problem: Problem, seed: int, size: Size) -> Iterator[Condition]:
    """All of them, the one without perturbation first."""
    yield Condition(problem, seed)
    for test in LEVELS:
        for strength in LEVELS[test]:
            for iteration in range(size.iterations):
                yield Condition(problem, seed, test, strength, iteration, size.perturbations)


def cell(stages: Stages, training: Training, on: ExplainOn, condition: Condition, name: str) -> dict[str, Tensor]:
    """`scores` (K, L, N) and `predicted` (K, N) of a metric under a condition, from the store where they are there."""
    metric = METRICS[name]
    where = {name: getattr(condition, name) for name in ("test", "strength", "iteration", "repetitions")}
    level = LEVELS[condition.test][condition.strength] if condition.test else 0.0
    parts = {"metric": metric, "version": metric.version, "explainers": EXPLAINERS, "explain_on": on}
    spec = keys.spec(STAGE, parts, {"predict": predict_key(training)[0]}, stage_version=VERSION, seed=training.seed, level=level, **where)

    def compute() -> Artifact:
        return Artifact(
            {"scores": condition.scores(metric), "predicted": condition.predicted}, environment(condition.problem.images.device)
        )

    return stages.store.get(STAGE, keys.digest(spec), spec, compute)[0].tensors


def run(stages: Stages, training: Training, size: Size, progress: Progress) -> dict[str, dict[str, Trial]]:
    """The trials of each test and metric."""
    on = ExplainOn(count=size.images)
    problem = stages.problem(Explaining(training, on, Gradient()), {})
    every = list(conditions(problem, training.seed, size))
    task = progress.add_task(type(training.dataset).__name__, total=len(every) * len(METRICS))
    found: dict[tuple[str, str], list[dict[str, Tensor]]] = {}
    for condition in every:
        start = time.perf_counter()
        for name in METRICS:
            where = " ".join((condition.test, condition.strength)) if condition.test else "unperturbed"
            found.setdefault((where, name), []).append(cell(stages, training, on, condition, name))
            progress.advance(task)
        took = f"{time.perf_counter() - start:.0f} s"
        progress.console.print(type(training.dataset).__name__, where, condition.iteration, took, highlight=False)
    return {test: {name: _trial(found, test, name) for name in METRICS} for test in LEVELS}


def _trial(found: dict[tuple[str, str], list[dict[str, Tensor]]], test: str, name: str) -> Trial:
    (plain,), strengths = found["unperturbed", name], ("small", "strong")
    scores, predicted = (
        {strength: torch.stack([part[what] for part in found[f"{test} {strength}", name]]).numpy() for strength in strengths}
        for what in ("scores", "predicted")
    )
    before = plain["predicted"].numpy()
    original, small, strong = (one.astype(np.float64) for one in (plain["scores"][0].numpy(), scores["small"], scores["strong"]))
    return Trial(original, small, strong, predicted["small"] == before, predicted["strong"] != before)


def rows(dataset: str, trials: dict[str, dict[str, Trial]], resamples: int) -> Iterator[dict[str, Any]]:
    """The rows of the csv for one data set: every metric, test and score."""
    directions = {name: (name, metric.higher_is_better is True) for name, metric in METRICS.items()}
    directions[REVERSED] = (PIXEL_FLIPPING, not directions[PIXEL_FLIPPING][1])
    for title, (name, higher_is_better) in directions.items():
        found = {test: reliability(trials[test][name], higher_is_better, resamples) for test in LEVELS}
        found[BOTH] = together([found[MODEL], found[INPUT]])
        for test, one in found.items():
            parts = [trials[part][name] for part in ((MODEL, INPUT) if test == BOTH else (test,))]
            yield from _rows({"dataset": dataset, "metric": title, "test": test}, one, parts)


def _rows(start: dict[str, Any], found: Reliability, trials: list[Trial]) -> Iterator[dict[str, Any]]:
    kept, changed = (float(np.mean([getattr(one, part).mean() for one in trials])) for part in ("kept", "changed"))
    lost = float(np.mean([undefined(one) for one in trials]))
    for name in NAMES:
        numbers = {"value": found.mean[name], "low": found.low[name], "high": found.high[name]}
        yield start | {"score": name} | numbers | {"kept": kept, "changed": changed, "undefined": lost}


def main(arguments: list[str]) -> int:
    """Run the study, or, with ``--draw``, make table and figure from its csv."""
    parser = argparse.ArgumentParser(prog="python -m xaibench.metric_reliability", description=__doc__)
    parser.add_argument("--draw", action="store_true", help="make table and figure from reliability.csv, without computing")
    parser.add_argument("--images", type=int, default=64, help="test images (64)")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--perturbations", type=int, default=5, help="of each strength, in each iteration (5)")
    parser.add_argument("--resamples", type=int, default=100, help="of the bootstrap (100)")
    parser.add_argument("--seed", type=int, default=0, help="training seed of the classifiers (0)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--store", type=Path, default=Path("results/store"))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where table and figure go")
    chosen = parser.parse_args(arguments)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if not chosen.draw:
        compute(chosen)
    table = pd.read_csv(chosen.folder / "reliability.csv")
    facts = json.loads((chosen.folder / "provenance.json").read_text())
    (chosen.folder / "table.md").write_text(markdown(table, facts))
    draw(table, chosen.folder / "reliability.png")
    return 0


def compute(chosen: argparse.Namespace) -> None:
    """Write reliability.csv, data set by data set, and provenance.json."""
    torch.set_num_threads(chosen.threads)
    size, start = Size(chosen.images, chosen.iterations, chosen.perturbations), time.perf_counter()
    stages, frames = Stages(Store(chosen.store), Runtime(device="cpu", threads=chosen.threads)), []
    with Progress(console=Console(stderr=True)) as progress:
        for title, dataset in DATASETS.items():
            training = Training(dataset, NETWORK, TRAINER, chosen.seed)
            found = rows(title, run(stages, training, size, progress), chosen.resamples)
            frames.append(pd.DataFrame(found, columns=COLUMNS))
            pd.concat(frames).to_csv(chosen.folder / "reliability.csv", index=False, float_format="%.5f")
    facts = {
        "command": "python -m xaibench.metric_reliability",
        "training seed": chosen.seed,
        **asdict(size),
        "resamples": chosen.resamples,
        "levels": LEVELS,
        "seconds": round(time.perf_counter() - start),
    }
    (chosen.folder / "provenance.json").write_text(json.dumps(facts | environment(torch.device("cpu")), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
