"""The contracts between the stages and the components: what is to be explained, explanations, scores, and the abstract components."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from xaibench.component import Component, NonNegativeInt, PositiveFloat, PositiveInt
from xaibench.seeding import Rng

VERSION = 1

Output = Literal["logit", "probability", "log_probability"]


class Family(str, Enum):
    """The families of explainers (first part) and of metrics (second part)."""

    GRADIENT = "gradient"
    ACTIVATION = "class activation"
    PERTURBATION = "perturbation"
    SHAPLEY = "Shapley"
    CONTROL = "control"
    DEGRADED = "degraded"

    FAITHFULNESS = "faithfulness"
    ROBUSTNESS = "robustness"
    LOCALIZATION = "localization"
    COMPLEXITY = "complexity"
    RANDOMIZATION = "randomization"
    AXIOMATIC = "axiomatic"


@dataclass(frozen=True)
class Problem:
    """What is to be explained.

    Attributes
    ----------
    model
        In eval mode, parameters without gradient; takes images in [0, 1], gives logits. None where only predictions are known.
    images
        (B, C, H, W), float32, in [0, 1].
    targets
        (B, T), int64: the classes to explain.
    labels
        (B,), int64: the true classes.
    probabilities
        (B, K): the model's, or None.
    index
        (B,), int64: position in the test set. (index, target) is the identity of every result.
    background
        (M, C, H, W): training images that stand for "absent".
    masks
        (B, T, H, W), bool: true relevance where the dataset knows it, or None.
    helpers
        Trained helpers that the component declared, by name.
    chunk
        How many images go through the model at once: `cost.chunk_size`, a fixed rule.
    """

    model: nn.Module | None
    images: Tensor
    targets: Tensor
    labels: Tensor
    index: Tensor
    background: Tensor
    probabilities: Tensor | None = None
    masks: Tensor | None = None
    helpers: Mapping[str, nn.Module] = field(default_factory=dict)
    chunk: int = 256

    def __post_init__(self) -> None:
        batch = self.images.shape[0]
        for name in ("targets", "labels", "index", "probabilities", "masks"):
            value = getattr(self, name)
            if value is not None and value.shape[0] != batch:
                raise ValueError(f"Problem.{name} of shape {tuple(value.shape)}: expected {batch} rows, as images")

    @property
    def classifier(self) -> nn.Module:
        """The model, for components that cannot work without one."""
        if self.model is None:
            raise ValueError("Problem.model=None: expected a model; only predictions are known here")
        return self.model

    def take(self, rows: Tensor | slice) -> Problem:
        """The same problem with some of its images."""
        names = ("images", "targets", "labels", "index", "probabilities", "masks")
        return dataclasses.replace(self, **{n: getattr(self, n)[rows] for n in names if getattr(self, n) is not None})


@dataclass(frozen=True)
class Attributions:
    """Signed relevance of every pixel for each target.

    Attributes
    ----------
    values
        (B, T, C or 1, H, W), float32, raw and signed.
    total
        (B, T), what the values of an image sum to when the method is complete (for integrated gradients f(x) - f(baseline));
        None where the method claims no completeness.
    again
        Explains another problem in the same way: the same explainer, and for an image at the same position the same draws. None
        where the maps came from outside.
    """

    values: Tensor
    total: Tensor | None = None
    again: Callable[[Problem], Attributions] | None = None

    def take(self, rows: Tensor | slice) -> Attributions:
        """The explanations of some of the images."""
        return dataclasses.replace(self, values=self.values[rows], total=None if self.total is None else self.total[rows])


Explanation = Attributions  # counterfactuals and influence join this union


@dataclass(frozen=True)
class Passes:
    """Images sent through the classifier, forward and backward, for a whole problem."""

    forward: int = 0
    backward: int = 0

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forward + other.forward, self.backward + other.backward)


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W), float32 in [0, 1], and their labels (N,), int64."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Arrays:
    """A dataset's content. `validation` is cut from the training data; `test` is for evaluation only.

    `test_masks`, where the true relevance is known, is bool: (N, H, W) for all classes alike, or (N, K, H, W), one for each class.
    """

    train: Split
    validation: Split
    test: Split
    test_masks: Tensor | None = None


@dataclass(frozen=True)
class Dataset(Component):
    """Images with classes. `subset_seed` chooses the test images that are explained, the same ones for every model and seed."""

    subset_seed: ClassVar[int] = 0
    has_masks: ClassVar[bool] = False
    shape: ClassVar[tuple[int, int, int]]
    classes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def checksum(self) -> str:
        """Identifies the content: part of every key that depends on the data."""

    @abstractmethod
    def load(self) -> Arrays:
        """Read (or download) and verify the data."""


@dataclass(frozen=True)
class Recipe(Component):
    """How a network is trained unless the trainer says otherwise: the settings of its source, where the source gives them."""

    optimizer: Literal["adam", "adamw", "sgd", "adadelta"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 128
    keep: Literal["best", "last"] = "best"
    patience: NonNegativeInt = 0


@dataclass(frozen=True)
class Model(Component):
    """A network's architecture."""

    recipe: ClassVar[Recipe] = Recipe()

    @abstractmethod
    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A freshly initialized network that takes images in [0, 1] of this shape and gives `classes` logits."""

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return None


@dataclass(frozen=True)
class Alteration(Component):
    """How the images are altered that a helper is trained with.

    Parameters
    ----------
    images
        Only so many training images, the first of a fixed order; null takes all.
    """

    images: PositiveInt | None = None

    def looks_at(self) -> Explainer | None:
        """Whose explanations of the images it needs, or None."""
        return None

    @abstractmethod
    def __call__(self, problem: Problem, explanation: Attributions | None, rng: Rng) -> Tensor:
        """The altered images (B, C, H, W) of a problem that holds training or validation images and the unaltered classifier."""


@dataclass(frozen=True)
class Training:
    """A classifier, or a helper, to be trained: what `needs` returns and the train stage makes.

    Attributes
    ----------
    dataset, model, trainer, seed
        The data, the network, how it is trained, and the seed of its weights and batches.
    alteration
        Alters the training and validation images first; it sees the classifier `origin`, and its predictions are the targets.
    origin
        The classifier that comes before.
    fine_tune
        Whether training starts from the weights of `origin`.
    """

    dataset: Dataset
    model: Model
    trainer: Component
    seed: int
    alteration: Alteration | None = None
    origin: Training | None = None
    fine_tune: bool = False

    def __post_init__(self) -> None:
        if (self.alteration is not None or self.fine_tune) and self.origin is None:
            raise ValueError("Training.origin=None: expected the classifier that is altered or fine-tuned")


@dataclass(frozen=True)
class Explainer(Component):
    """Explains a classifier's output for images and targets.

    Attributes
    ----------
    family, paper, claims
        Of the class: its family, its paper, and the axioms that it keeps, of `explaining.AXIOMS`.
    exact_passes
        Of the class: whether `passes` is exact, or, where the passes depend on what is found on the way, an upper bound.
    output
        What is explained: the target's logit (default), probability or log-probability.
    """

    family: ClassVar[Family]
    paper: ClassVar[str] = ""
    claims: ClassVar[frozenset[str]] = frozenset()
    exact_passes: ClassVar[bool] = True

    output: Output = "logit"

    def needs(self, training: Training) -> Mapping[str, Training]:
        """Trained helpers by name, for the explanation of this classifier."""
        return {}

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None. It is reported in the plan and in the tables, never raised."""
        return None if problem.model is not None else "needs a model, and only predictions are known"

    @abstractmethod
    def passes(self, problem: Problem) -> Passes:
        """The forward and backward passes that the call will take."""

    @abstractmethod
    def __call__(self, problem: Problem, rng: Rng) -> Explanation:
        """Explain every (image, target)."""


def select(logits: Tensor, targets: Tensor, output: Output) -> Tensor:
    """The output that is explained: (N, K) logits and (N, T) targets give (N, T)."""
    if output == "probability":
        logits = torch.softmax(logits, dim=1)
    elif output == "log_probability":
        logits = torch.log_softmax(logits, dim=1)
    return logits.gather(1, targets)
