"""What the counterfactual methods share that need an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xaibench import autoencoders
from xaibench.autoencoders import AutoencoderModel, ConvAutoencoder
from xaibench.component import Fraction
from xaibench.problem import Problem, Training
from xaibench.searching import CounterfactualExplainer


@dataclass(frozen=True)
class AutoencodedSearch(CounterfactualExplainer):
    """A method that works with an autoencoder of the training images, ``problem.helpers["autoencoder"]``.

    Parameters
    ----------
    autoencoder
        Its architecture.
    least_agreement
        Share of the images whose reconstruction must keep the predicted class; below it the method is skipped with the reason.
    """

    autoencoder: AutoencoderModel = ConvAutoencoder()
    least_agreement: Fraction = 0.8

    def needs(self, training: Training) -> Mapping[str, Training]:
        """The autoencoder."""
        return {"autoencoder": autoencoders.training(training, self.autoencoder)}

    def unsupported(self, problem: Problem) -> str | None:
        """Needs a good autoencoder."""
        reason = super().unsupported(problem)
        if reason is None and "autoencoder" in problem.helpers:
            return autoencoders.unfit(problem, problem.helpers["autoencoder"], self.least_agreement)
        return reason
