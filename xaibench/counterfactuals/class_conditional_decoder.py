"""What an image would look like as a member of another class, by a generative model of images and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from xaibench.counterfactuals.black_box import BlackBoxSearch
from xaibench.counterfactuals.conditional_autoencoder import ConditionalAutoencoder, ConditionalAutoencoding
from xaibench.problem import Passes, Problem, Training
from xaibench.searching import Pairs, Proposals
from xaibench.seeding import Rng
from xaibench.training import Trainer


@dataclass(frozen=True)
class ClassConditionalDecoder(BlackBoxSearch):
    """The image that a class-conditional variational autoencoder makes of the original's style and the target: a generative reference.

    It asks the classifier nothing: its images are plausible members of the target in the original's style (slant, thickness), and the
    classifier takes them for the target as far as it agrees with the labels. They are not made to be near.

    Parameters
    ----------
    autoencoder
        The network.
    training
        How it is trained, on training images and labels.
    confidence
        See `CounterfactualExplainer`.

    Returns
    -------
    Counterfactuals
        decoder(code(x, predicted class), target), with the mean of the code; no passes, nothing random.

    References
    ----------
    Kingma et al., Semi-supervised learning with deep generative models, 2014 (arXiv:1406.5298), section 2, model M2, and its analogies in
    section 4.2; Sohn et al., Learning structured output representation using deep conditional generative models, 2015. Differs: all
    images are labeled, so that M2 needs no classifier of its own: the class of the original is the one that the explained classifier
    gives. See `ConditionalAutoencoding` for the training.
    """

    paper: ClassVar[str] = "Kingma et al., 2014 (arXiv:1406.5298)"

    autoencoder: ConditionalAutoencoder = ConditionalAutoencoder()
    training: ConditionalAutoencoding = ConditionalAutoencoding()

    def needs(self, training: Training) -> Mapping[str, Training]:
        """The network, trained with the classifier's seed."""
        own = (training.dataset, self.autoencoder, Trainer(), training.seed)
        return {"conditional": Training(*own, origin=training, procedure=self.training)}

    def most_passes(self, problem: Problem) -> Passes:
        """None."""
        return Passes()

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        """See `CounterfactualExplainer`."""
        network, none = problem.helpers["conditional"], torch.zeros_like(pairs.targets)
        with torch.inference_mode():
            parts = [pairs.take(rows) for rows in torch.arange(len(pairs), device=none.device).split(problem.chunk)]
            images = torch.cat([network(part.images, part.predicted, part.targets) for part in parts])
        return Proposals(images, none, none)
