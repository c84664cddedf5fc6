"""Training an actor to propose counterfactuals, by deep deterministic policy gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from xaibench import autoencoders, cost
from xaibench.autoencoders import Autoencoder, AutoencoderModel, ConvAutoencoder
from xaibench.component import Component, Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from xaibench.counterfactuals.actor import ActorNetwork, Critic
from xaibench.counterfactuals.replay import ReplayBuffer, Trials
from xaibench.problem import Arrays, Procedure, Training
from xaibench.searching import verdict
from xaibench.seeding import Rng

VERSION = 1

State = tuple[Tensor, Tensor, Tensor]
"""What the actor is given: codes (n, L), predicted classes (n,) and targets (n,)."""

COLUMNS = ("reward", "critic_loss", "max_loss", "sparsity_loss", "consistency_loss")
HISTORY = 100
"""Rows of the history, at most."""


@dataclass(frozen=True)
class Settings(Component):
    """How an actor is trained.

    Parameters
    ----------
    steps
        Training steps: each tries the actor on a batch, and then improves critic and actor on batches of what was tried so far.
    batch_size
        Images in a batch.
    critic_updates
        Updates of the critic in a step, each on a batch of its own; the actor is updated once, on the last.
    actor_rate, critic_rate
        Learning rates (Adam).
    sparsity, consistency
        Weights of these losses, see `actor_losses`, beside the critic's estimate; at 0 the consistency is not computed.
    noise
        Standard deviation of the normal noise that is added to what the actor proposes, in training, and clipped to [-1, 1].
    buffer
        Batches that are kept to learn from.
    warm_up
        First steps, in which codes are drawn uniformly from [-1, 1] instead.
    """

    steps: PositiveInt = 6000
    batch_size: PositiveInt = 100
    critic_updates: PositiveInt = 4
    actor_rate: PositiveFloat = 1e-3
    critic_rate: PositiveFloat = 1e-3
    sparsity: NonNegativeFloat = 5.0
    consistency: NonNegativeFloat = 0.0
    noise: NonNegativeFloat = 0.1
    buffer: PositiveInt = 1000
    warm_up: NonNegativeInt = 100


@dataclass(frozen=True)
class Ddpg(Settings, Procedure):
    """Deep deterministic policy gradients for counterfactuals: the classifier is asked for its predictions only.

    An actor proposes codes; the reward is 1 where the classifier takes the decoded image for the target, by the rule that decides what
    is found, and else 0. A critic learns to estimate the reward, and the actor follows the critic's gradient. Training images and
    targets are drawn uniformly, also the predicted class as a target. Other fields: see `Settings`.

    Parameters
    ----------
    autoencoder
        The architecture of the autoencoder, which is trained before.
    confidence
        Probability of the target that earns a reward, beside its being the largest.

    Returns
    -------
    dict
        The means over equal parts of the steps: `reward` of what was tried, noise included, and the losses.

    References
    ----------
    Samoilescu, Van Looveren and Klaise, Model-agnostic and scalable counterfactual explanations via reinforcement learning
    (arXiv:2106.02597), the training procedure and its losses L_max, L_sparsity and L_consist. Lillicrap et al., Continuous control with
    deep reinforcement learning (arXiv:1509.02971). Differs: several updates of the critic for one of the actor, which learns sooner then;
    images are drawn with replacement; critic and actor learn from the first step on; no conditioning on features, and no processing of
    decoded images.
    """

    autoencoder: AutoencoderModel = ConvAutoencoder()
    confidence: Fraction = 0.0

    def needs(self, training: Training) -> Mapping[str, Training]:
        """The autoencoder."""
        return {"autoencoder": autoencoders.training(training, self.autoencoder)}

    def __call__(
        self, network: nn.Module, classifier: nn.Module, helpers: Mapping[str, nn.Module], arrays: Arrays, rng: Rng, progress: bool
    ) -> Mapping[str, Tensor]:
        """See `Procedure`."""
        autoencoder, draws = helpers["autoencoder"], rng.shared()
        assert isinstance(network, ActorNetwork)
        assert isinstance(autoencoder, Autoencoder)
        world = World(classifier, autoencoder, arrays.train.images, next(network.parameters()).device, self.confidence)
        critic = Critic(network.latent, network.classes, network.hidden).to(world.device)
        buffer = ReplayBuffer(self.buffer * self.batch_size, network.latent, world.device)
        optimizers = self.optimizers(critic, network)
        columns = []
        for step in _steps(self.steps, progress):
            trials = self.trials(world, network, draws, step < self.warm_up)
            buffer.add(trials)
            batches = [buffer.sample(self.batch_size, draws) for _ in range(self.critic_updates)]
            losses = self.learn(network, critic, optimizers, world, batches)
            columns.append(torch.stack([trials.rewards.mean(), *(losses[name] for name in COLUMNS[1:])]))
        parts = torch.stack(columns).split(-(-self.steps // HISTORY))
        return dict(zip(COLUMNS, torch.stack([part.mean(0) for part in parts]).T, strict=True))

    def trials(self, world: World, actor: ActorNetwork, draws: torch.Generator, warm_up: bool) -> Trials:
        """Codes that are tried for training images and targets drawn at random, and their rewards."""
        rows = torch.randint(len(world.images), (self.batch_size,), generator=draws)
        targets = torch.randint(actor.classes, (self.batch_size,), generator=draws).to(world.device)
        with torch.no_grad():
            codes = explored(actor(*world.state(rows, targets)), None if warm_up else self.noise, draws)
            return Trials(rows, targets, codes, world.rewards(codes, targets))

    def optimizers(self, critic: nn.Module, actor: nn.Module) -> tuple[Optimizer, Optimizer]:
        """The critic's, and the actor's."""
        pairs = (critic, self.critic_rate), (actor, self.actor_rate)
        first, second = (torch.optim.Adam(network.parameters(), rate, fused=True) for network, rate in pairs)
        return first, second

    def learn(
        self, actor: ActorNetwork, critic: Critic, optimizers: tuple[Optimizer, Optimizer], world: World, batches: Sequence[Trials]
    ) -> dict[str, Tensor]:
        """A step of the critic with each batch, and then one of the actor with the last; their losses."""
        for trials in batches:
            state = world.state(trials.rows, trials.targets)
            of_critic = critic_loss(critic, state, trials.codes, trials.rewards)
            _descend(optimizers[0], of_critic)
        images = world.images[trials.rows].to(world.device)
        losses = actor_losses(actor, critic, world.autoencoder, state, images, self.consistency > 0)
        weights = {"max_loss": 1.0, "sparsity_loss": self.sparsity, "consistency_loss": self.consistency}
        _descend(optimizers[1], sum((weight * losses[name] for name, weight in weights.items()), torch.zeros((), device=world.device)))
        return {name: loss.detach() for name, loss in ({"critic_loss": of_critic} | losses).items()}


class World:
    """What the actor acts in: training images, which are coded and classified once, and the rewards.

    Parameters
    ----------
    classifier, autoencoder
        On the device.
    images
        (N, C, H, W), in the host's memory; codes and predicted classes are kept on the device.
    device, confidence
        Where all but the images lies; probability of the target that earns a reward.
    """

    def __init__(self, classifier: nn.Module, autoencoder: Autoencoder, images: Tensor, device: torch.device, confidence: float) -> None:
        self.classifier, self.autoencoder, self.images, self.device, self.confidence = classifier, autoencoder, images, device, confidence
        self.chunk = cost.chunk_size(classifier, tuple(images.shape[1:]), device)
        with torch.no_grad():
            parts = [(autoencoder.encoder(part), classifier(part).argmax(1)) for part in (p.to(device) for p in images.split(self.chunk))]
        self.codes, self.predicted = (torch.cat(found) for found in zip(*parts, strict=True))

    def state(self, rows: Tensor, targets: Tensor) -> State:
        """What the actor is given for these training images."""
        rows = rows.to(self.device)
        return self.codes[rows], self.predicted[rows], targets

    def rewards(self, codes: Tensor, targets: Tensor) -> Tensor:
        """(n,): 1 where the decoded image is a counterfactual, else 0."""
        logits = torch.cat([self.classifier(part) for part in self.autoencoder.decoder(codes).split(self.chunk)])
        return verdict(logits, targets, self.confidence).to(codes.dtype)


def explored(codes: Tensor, noise: float | None, draws: torch.Generator) -> Tensor:
    """Codes (n, L) with normal noise of this standard deviation, clipped to [-1, 1]; uniform on it instead where there is none given."""
    if noise is None:
        return (2 * torch.rand(codes.shape, generator=draws) - 1).to(codes.device)
    return (codes + noise * torch.randn(codes.shape, generator=draws).to(codes.device)).clamp(-1, 1)


def critic_loss(critic: nn.Module, state: State, codes: Tensor, rewards: Tensor) -> Tensor:
    """Mean squared error of the estimated rewards."""
    error: Tensor = critic(*state, codes) - rewards
    return error.square().mean()


def actor_losses(
    actor: nn.Module, critic: nn.Module, autoencoder: Autoencoder, state: State, images: Tensor, consistent: bool
) -> dict[str, Tensor]:
    """The parts of the actor's loss, each a mean over the batch.

    L_max is the negative estimated reward. L_sparsity is the L1 distance between decoded and original image. L_consist is the squared
    distance between the proposed code and the decoded image's, which is taken as a constant; 0 unless it is asked for. Differs: distances
    are means over pixels and over numbers of a code, so that their weights do not depend on sizes.
    """
    proposed = actor(*state)
    decoded = autoencoder.decoder(proposed)
    consistency = proposed.new_zeros(())
    if consistent:
        with torch.no_grad():
            again = autoencoder.encoder(decoded)
        consistency = (again - proposed).square().mean()
    return {
        "max_loss": -critic(*state, proposed).mean(),
        "sparsity_loss": (decoded - images).abs().mean(),
        "consistency_loss": consistency,
    }


def _descend(optimizer: Optimizer, loss: Tensor) -> None:
    # The actor's loss leaves gradients in the critic, too: they must not count.
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _steps(count: int, progress: bool) -> Iterable[int]:
    if not progress:
        return range(count)
    from rich.progress import track

    return track(range(count), description="training the actor")
