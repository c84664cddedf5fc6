"""The contracts between the stages and the components: what is to be explained, explanations, trainings, and what an explainer is."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Generic, Literal

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar  # that of Python 3.13: a type variable with a default

from xaibench.component import Component, PositiveInt
from xaibench.data import Arrays as Arrays
from xaibench.data import Dataset as Dataset
from xaibench.data import Model as Model
from xaibench.data import Recipe as Recipe
from xaibench.data import Split as Split
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
    SEARCH = "counterfactual search"

    FAITHFULNESS = "faithfulness"
    ROBUSTNESS = "robustness"
    LOCALIZATION = "localization"
    COMPLEXITY = "complexity"
    RANDOMIZATION = "randomization"
    AXIOMATIC = "axiomatic"
    COUNTERFACTUAL = "counterfactual"


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
    training_data
        All training images and their labels, in the host's memory whatever the device; None where there are none.
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
    training_data: Split | None = None
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


@dataclass(frozen=True)
class Counterfactuals:
    """For each (image, target) an image, as close to it as the method gets, that the classifier takes for the target.

    Attributes
    ----------
    images
        (B, T, C, H, W), float32, in [0, 1]: what the method proposes, found or not.
    found, asked
        (B, T), bool: whether the proposal is one, by the rule of `searching.verdict`; and whether there was anything to look for: not
        where the target is the predicted class. Such a pair is never found.
    forward, backward
        (B, T), int64: passes through the classifier that the pair took, without the one that decides `found`.
    again
        Explains another problem in the same way; None where the images came from outside.
    """

    images: Tensor
    found: Tensor
    asked: Tensor
    forward: Tensor
    backward: Tensor
    again: Callable[[Problem], Counterfactuals] | None = None

    def take(self, rows: Tensor | slice) -> Counterfactuals:
        """The explanations of some of the images."""
        names = ("images", "found", "asked", "forward", "backward")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in names})


Explanation = Attributions  # the kind that most explainers give, and most metrics score

Kind = TypeVar("Kind", Attributions, Counterfactuals, default=Attributions)


@dataclass(frozen=True)
class Passes:
    """Images sent through the classifier, forward and backward, for a whole problem."""

    forward: int = 0
    backward: int = 0

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forward + other.forward, self.backward + other.backward)


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
    """A network to be trained: a classifier, or a helper that `needs` returns; the train stage makes it.

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
    only
        Train on images of this class alone; None takes all.
    procedure
        How it is trained, where it is not fitted to labels or images: it sees the classifier `origin`.
    """

    dataset: Dataset
    model: Model
    trainer: Component
    seed: int
    alteration: Alteration | None = None
    origin: Training | None = None
    fine_tune: bool = False
    only: int | None = None
    procedure: Procedure | None = None

    def __post_init__(self) -> None:
        if (self.alteration is not None or self.fine_tune or self.procedure is not None) and self.origin is None:
            raise ValueError("Training.origin=None: expected the classifier that comes before")


@dataclass(frozen=True)
class Procedure(Component):
    """A way to train a helper with the classifier that is explained, such as reinforcement learning."""

    def needs(self, training: Training) -> Mapping[str, Training]:
        """Trained helpers by name, beside the classifier."""
        return {}

    @abstractmethod
    def __call__(
        self, network: nn.Module, classifier: nn.Module, helpers: Mapping[str, nn.Module], arrays: Arrays, rng: Rng, progress: bool
    ) -> Mapping[str, Tensor]:
        """Train the network, freshly initialized and on its device, in place; returns its history, (epochs,) each, by column."""


@dataclass(frozen=True)
class Explainer(Component, Generic[Kind]):
    """Explains a classifier's output for images and targets.

    Attributes
    ----------
    gives
        Of the class: the kind of explanation.
    family, paper, claims
        Of the class: its family, its paper, and the axioms that it keeps, of `explaining.AXIOMS`.
    exact_passes
        Of the class: whether `passes` is exact, or, where the passes depend on what is found on the way, an upper bound.
    output
        What is explained: the target's logit (default), probability or log-probability.
    """

    gives: ClassVar[type] = Attributions
    family: ClassVar[Family]
    paper: ClassVar[str] = ""
    claims: ClassVar[frozenset[str]] = frozenset()
    exact_passes: ClassVar[bool] = True

    output: Output = "logit"

    def needs(self, training: Training) -> Mapping[str, Training]:
        """Trained helpers by name, for the explanation of this classifier."""
        return {}

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: reported, not raised. Asked of a plan, without helpers, and before explaining."""
        return None if problem.model is not None else "needs a model, and only predictions are known"

    @abstractmethod
    def passes(self, problem: Problem) -> Passes:
        """The forward and backward passes that the call will take."""

    @abstractmethod
    def __call__(self, problem: Problem, rng: Rng) -> Kind:
        """Explain every (image, target)."""


def select(logits: Tensor, targets: Tensor, output: Output) -> Tensor:
    """The output that is explained: (N, K) logits and (N, T) targets give (N, T)."""
    if output == "probability":
        logits = torch.softmax(logits, dim=1)
    elif output == "log_probability":
        logits = torch.log_softmax(logits, dim=1)
    return logits.gather(1, targets)
