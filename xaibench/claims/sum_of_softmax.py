"""That the gradient of the sum of the softmax outputs is rounding noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.claims.base import MAGNITUDE, Claim, over_seeds, row
from xaibench.claims.classifiers import by_configuration
from xaibench.component import NonNegativeInt, PositiveFloat, PositiveInt
from xaibench.identity import train_key
from xaibench.problem import Training
from xaibench.stages import arrays_of
from xaibench.tables.longtable import Results
from xaibench.training import load


@dataclass(frozen=True, kw_only=True)
class SumOfSoftmax(Claim):
    """Largest absolute input gradient of the sum of the softmax outputs, which is 1 whatever the image: exactly 0 but for rounding.

    Beside it, on the same images, the largest gradient of the predicted class's probability and of its logit. The sum's
    gradient is expected to be some rounding units of the logit's, in single and in double precision; anything but rounding would stay as
    large in double. One number for each seed (the largest over images and pixels), hence t intervals over seeds, cut at 0.

    Parameters
    ----------
    topic
        A heading in plain words.
    indices
        Positions in the test set; null takes the first `count`.
    count
        How many.
    units
        Rounding units (6e-8 in single, 1.1e-16 in double precision) of the logit's gradient that the sum's is expected to stay below.
    """

    indices: tuple[NonNegativeInt, ...] | None = None
    count: PositiveInt = 500
    units: PositiveFloat = 100.0

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        for names, found in by_configuration(results):
            rows = list(range(self.count)) if self.indices is None else list(self.indices)
            images = arrays_of(found[0][0].dataset).test.images[rows]
            each = [largest(_network(training, results), images) for training, _, _ in found]
            single, double, probability, logit = zip(*each, strict=True)
            texts = {
                "largest gradient of the sum of the softmax outputs": single,
                "the same in double precision": double,
                "largest gradient of the predicted class's probability": probability,
                "largest gradient of the predicted class's logit": logit,
            }
            made = [row(names, text, over_seeds(values), within=MAGNITUDE) for text, values in texts.items()]
            for text, values, precision in (("single", single, torch.float32), ("double", double, torch.float64)):
                ratio = over_seeds([a / b for a, b in zip(values, logit, strict=True)])
                bound = float(f"{self.units * torch.finfo(precision).eps / 2:.1e}")
                made.append(row(names, f"the sum's gradient as a share of the logit's, {text} precision", ratio, "<", bound, MAGNITUDE))
            yield from (item | {"images": len(images)} for item in made)


def largest(network: nn.Module, images: Tensor) -> tuple[float, float, float, float]:
    """Largest absolute input gradient of the sum of the softmax outputs in single and in double precision, and, in single, of the predicted
    class's probability and logit."""
    double = [_gradient(network.double(), part.double(), "sum") for part in images.split(100)]
    network.float()
    single = {kind: [_gradient(network, part, kind) for part in images.split(100)] for kind in ("sum", "probability", "logit")}
    return max(single["sum"]), max(double), max(single["probability"]), max(single["logit"])


def _gradient(network: nn.Module, images: Tensor, kind: str) -> float:
    inputs = images.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = network(inputs)
        explained = {"sum": logits.softmax(1), "probability": logits.softmax(1).amax(1), "logit": logits.amax(1)}[kind]
        (gradient,) = torch.autograd.grad(explained.sum(), inputs)
    return float(gradient.abs().max())


def _network(training: Training, results: Results) -> nn.Module:
    trained = results.store.read("train", train_key(training)[0])
    assert trained is not None
    dataset = training.dataset
    return load(training.model, dataset.shape, len(dataset.classes), trained.group("weights"), torch.device("cpu"))
