"""What a planned grid will take: hours at a given throughput of its classifiers, and bytes in the store, from shapes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from xaibench.bench import DIRECTIONS, RULED, passing, seconds
from xaibench.cost import chunk_size
from xaibench.grid import Grid
from xaibench.identity import train_key
from xaibench.metrics.curve_metric import RemovalMetric
from xaibench.planning import Planned, blank, helpers, size_of_test, size_of_training, untrained
from xaibench.problem import Dataset, Model, Passes, Problem, Training
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime
from xaibench.store import Store
from xaibench.training import Trainer

NUMBER = 4
"""Bytes of a number."""

NAMES = 3
"""Scores that a metric gives for each (image, target), about."""

FOLDER = 4096
"""Bytes of a result's readable files, about: what it is, and where it comes from."""

LEAST_SECONDS = 2.0
"""How long a classifier is timed at least in each direction."""

Rates = Mapping[tuple[Dataset, Model], "Rate"]


@dataclass(frozen=True)
class Rate:
    """Images per second through a classifier: forward, and forward and back to the image."""

    forward: float
    both: float

    def __str__(self) -> str:
        return f"{self.forward:,.1f} images/s forward, {self.both:,.1f} forward and back"

    def hours(self, passes: Passes) -> float:
        """Of so many passes; the way back takes what both take beyond forward."""
        return (passes.forward / self.forward + passes.backward * (1 / self.both - 1 / self.forward)) / 3600


@dataclass(frozen=True)
class Estimate:
    """What is to do in one stage.

    Attributes
    ----------
    stage, results
        Its name, and how many results are to be computed.
    passes
        Through classifiers of the grid, or networks that are taken to be as fast, such as autoencoders.
    hours, storage
        At the given rates, and bytes in the store.
    """

    stage: str
    results: int
    passes: Passes
    hours: float
    storage: int


def measured(grid: Grid, runtime: Runtime) -> dict[tuple[Dataset, Model], Rate]:
    """The throughput of each classifier of a grid, untrained, on this device, at the chunk of the fixed rule."""
    return {pair: _rate(*pair, runtime) for pair in pairs(grid)}


def pairs(grid: Grid) -> list[tuple[Dataset, Model]]:
    """The classifiers of a grid, whatever their seeds."""
    return list(dict.fromkeys((dataset.component, model.component) for dataset, model, _, _ in grid.classifiers()))


def estimates(grid: Grid, cells: list[Planned], store: Store, rates: Rates) -> list[Estimate]:
    """What each stage will take. Of cached results nothing; passes of searches are the most that they may take.

    An explanation is taken to have a value for each channel, though many methods give one for all.
    """
    todo = [item for item in cells if item.status == "to do"]
    explained = {item.cell.explaining.key: item for item in todo if not store.has("explain", item.cell.explaining.key)}
    trainings = {train_key(each)[0]: each for each in grid.trainings()}
    further = {key: each for key, each in helpers(cells).items() if key not in trainings}
    new = [[each for key, each in found.items() if not store.has("train", key)] for found in (trainings, further)]
    return [
        *(_summed(stage, [(_pair(each), *_training(each)) for each in found], rates) for stage, found in zip(STAGES, new, strict=True)),
        _summed("predict", [(_pair(each), *_prediction(each)) for each in new[0]], rates),
        _summed("explain", [(_pair(item.cell.training), item.explaining, _maps(item)) for item in explained.values()], rates),
        _summed("evaluate", [(_pair(item.cell.training), item.scoring, _scores(item)) for item in todo], rates),
    ]


STAGES = ("train", "helpers")


def _rate(dataset: Dataset, model: Model, runtime: Runtime) -> Rate:
    device, network = runtime.torch_device(), untrained(model, dataset.shape, len(dataset.classes))
    network, chunk = network.to(device), chunk_size(network.to(device), dataset.shape, device)
    few = blank(dataset, model, ExplainOn(count=1, background=1))
    problem = replace(few, model=network, images=few.images.to(device), chunk=chunk)
    found = []
    for direction in DIRECTIONS:
        call = passing(problem, direction, chunk, RULED)
        call()
        found.append(chunk / seconds(call, device, LEAST_SECONDS))
    return Rate(*found)


def _pair(training: Training) -> tuple[Dataset, Model]:
    """The classifier that a network's passes are like: itself, or the one that it serves."""
    while training.origin is not None:
        training = training.origin
    return training.dataset, training.model


def _training(training: Training) -> tuple[Passes, int]:
    """Passes and bytes of a network: in each epoch every image forward, and back to the weights and to the image below each layer."""
    trainer, dataset = training.trainer, training.dataset
    assert isinstance(trainer, Trainer)
    network = untrained(training.model, dataset.shape, len(dataset.classes))
    size = sum(value.nbytes for value in network.state_dict().values())
    if training.model.fixed and training.origin is None:
        return Passes(), size
    asked = getattr(training.alteration, "images", None)
    images = size_of_training(dataset)
    count = min(asked or images, images) * trainer.resolve(training.model.recipe).recipe().epochs
    return Passes(count, 2 * count), size


def _prediction(training: Training) -> tuple[Passes, int]:
    count = size_of_test(training.dataset)
    return Passes(count), count * NUMBER * len(training.dataset.classes)


def _maps(item: Planned) -> int:
    """Bytes of an explanation: a value for each channel of each pixel and target, and which image and targets."""
    problem = _problem(item, item.cell.explain_on.component)
    return problem.targets.numel() * NUMBER * problem.images.shape[1:].numel() + _identity(problem)


def _scores(item: Planned) -> int:
    """Bytes of scores: some numbers, and curves where there are any, for each image and target."""
    problem, metric = _problem(item, item.cell.score_on or item.cell.explain_on.component), item.cell.metric.component
    points = metric.points(problem) * len(metric.sequences()) if isinstance(metric, RemovalMetric) else 0
    return problem.targets.numel() * NUMBER * (NAMES + points) + _identity(problem)


def _problem(item: Planned, explain_on: ExplainOn) -> Problem:
    return blank(item.cell.dataset.component, item.cell.model.component, explain_on)


def _identity(problem: Problem) -> int:
    return 2 * NUMBER * (problem.index.numel() + problem.targets.numel())


def _summed(stage: str, parts: Iterable[tuple[tuple[Dataset, Model], Passes, int]], rates: Rates) -> Estimate:
    count, passes, hours, storage = 0, Passes(), 0.0, 0
    for pair, taken, size in parts:
        rate = rates[pair] if pair in rates else next(known for (dataset, _), known in rates.items() if dataset == pair[0])
        count, passes, hours, storage = count + 1, passes + taken, hours + rate.hours(taken), storage + size + FOLDER
    return Estimate(stage, count, passes, hours, storage)
