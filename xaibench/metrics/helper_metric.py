"""What the metrics share that train classifiers of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from xaibench.component import PositiveInt
from xaibench.problem import Alteration, Explainer, Family, Problem, Training
from xaibench.removal import Constant, Removal
from xaibench.scoring import Metric
from xaibench.training import Trainer


@dataclass(frozen=True)
class HelperMetric(Metric):
    """A faithfulness metric that asks a classifier which has been trained with images that lack pixels.

    Helpers are trained as the classifier was, with its network, recipe and seed, but on altered training and validation images. They
    do not depend on `draw`.

    Parameters
    ----------
    removal
        What a removed pixel becomes, in training and in the test. Scores under different operators are not comparable.
    epochs
        Epochs of a helper's training; null: as many as the classifier's.
    train_images
        Only so many training images for a helper; null takes all.
    """

    family: ClassVar[Family] = Family.FAITHFULNESS
    version: ClassVar[int] = 1

    removal: Removal = Constant(0.0)
    epochs: PositiveInt | None = None
    train_images: PositiveInt | None = None

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs a model, and the background that the removal may need."""
        return super().unsupported(problem, explainer) or self.removal.unsupported(problem)

    def helper(self, training: Training, alteration: Alteration, fine_tune: bool) -> Training:
        """A classifier that is trained with altered images, from new weights or from those of the classifier."""
        trainer = training.trainer
        assert isinstance(trainer, Trainer)
        trainer = replace(trainer, epochs=self.epochs or trainer.epochs)
        return replace(training, trainer=trainer, alteration=alteration, origin=training, fine_tune=fine_tune)
