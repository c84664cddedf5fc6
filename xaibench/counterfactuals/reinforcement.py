"""Counterfactuals by reinforcement learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from xaibench.autoencoders import Autoencoder
from xaibench.component import PositiveInt
from xaibench.counterfactuals.actor import Actor
from xaibench.counterfactuals.autoencoded import AutoencodedSearch
from xaibench.counterfactuals.ddpg import Ddpg, Settings
from xaibench.problem import Passes, Problem, Training
from xaibench.searching import Pairs, Proposals
from xaibench.seeding import Rng
from xaibench.training import Trainer


@dataclass(frozen=True)
class Reinforcement(Settings, AutoencodedSearch):
    """Counterfactuals by reinforcement learning: a trained network moves the image's code to the target's, in one step.

    The actor is given the image's code, its predicted class and the target, both one-hot, and proposes a code, which is decoded. It is
    trained beforehand for all images and targets, see `Ddpg`, with the classifier as a black box; to explain takes no pass through it. A
    training without success is a result: little is found. Other fields: see `Settings` and `AutoencodedSearch`.

    Parameters
    ----------
    hidden
        Width of each hidden layer of actor and critic.

    Returns
    -------
    Counterfactuals
        (B, T, C, H, W): decoded images, so what the autoencoder cannot show changes, too.

    References
    ----------
    Samoilescu, Van Looveren and Klaise, Model-agnostic and scalable counterfactual explanations via reinforcement learning
    (arXiv:2106.02597). Differs: see `Ddpg`.
    """

    paper: ClassVar = "Samoilescu et al., 2021 (arXiv:2106.02597)"
    differentiates: ClassVar = False

    hidden: PositiveInt = 256

    def needs(self, training: Training) -> Mapping[str, Training]:
        """The autoencoder and the actor."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(Settings)}
        procedure = Ddpg(autoencoder=self.autoencoder, confidence=self.confidence, **values)
        model = Actor(self.autoencoder, self.hidden)
        actor = Training(training.dataset, model, Trainer(), training.seed, origin=training, procedure=procedure)
        return {**super().needs(training), "actor": actor}

    def most_passes(self, problem: Problem) -> Passes:
        """None."""
        return Passes()

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        """See `CounterfactualExplainer`."""
        autoencoder, actor = problem.helpers["autoencoder"], problem.helpers["actor"]
        assert isinstance(autoencoder, Autoencoder)
        proposed = torch.empty_like(pairs.images)
        with torch.inference_mode():
            for rows in torch.arange(len(pairs), device=pairs.targets.device).split(problem.chunk):
                part = pairs.take(rows)
                proposed[rows] = autoencoder.decoder(actor(autoencoder.encoder(part.images), part.predicted, part.targets))
        none = torch.zeros_like(pairs.targets)
        return Proposals(proposed, none, none)
