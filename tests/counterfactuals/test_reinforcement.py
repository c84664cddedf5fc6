"""Counterfactuals by reinforcement learning: losses, exploration, rewards and memory against plain loops; and a training that succeeds."""

from __future__ import annotations

import dataclasses
from collections import deque

import pytest
import torch
from torch import Tensor, nn

from xaibench import cost
from xaibench.autoencoders import Autoencoder, AutoencoderModel, ConvAutoencoder
from xaibench.counterfactuals import ddpg
from xaibench.counterfactuals.actor import Actor, ActorNetwork, Critic
from xaibench.counterfactuals.ddpg import COLUMNS, HISTORY, Ddpg, Settings, World, actor_losses, critic_loss, explored
from xaibench.counterfactuals.reinforcement import Reinforcement
from xaibench.counterfactuals.replay import ReplayBuffer, Trials
from xaibench.datasets.digits import Digits
from xaibench.identity import train_key
from xaibench.models.mlp import Mlp
from xaibench.problem import Arrays, Passes, Problem, Split, Training
from xaibench.seeding import Rng
from xaibench.training import Trainer, fit_by

RNG = Rng(0, 0, "test")
SHAPE, CLASSES = (1, 8, 8), 4


class Affine(nn.Module):
    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, values: Tensor) -> Tensor:
        return self.scale * values + self.shift


@dataclasses.dataclass(frozen=True)
class Quadrants(AutoencoderModel):
    """A code is the mean brightness of the four quadrants, from [0, 1] to [-1, 1]."""

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        encoder = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), Affine(2, -1))
        return Autoencoder(encoder, nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Upsample(SHAPE[1:]), Affine(0.5, 0.5)))


class Brightest(nn.Module):
    """Four classes: which quadrant is the brightest. A black box: one-hot, without gradient."""

    def forward(self, images: Tensor) -> Tensor:
        means = nn.functional.avg_pool2d(images, 4).flatten(1)
        return nn.functional.one_hot(means.argmax(1), CLASSES).float()


TINY = Ddpg(autoencoder=Quadrants(), steps=100, batch_size=32, sparsity=0.5, buffer=100, warm_up=40, actor_rate=3e-3, critic_rate=3e-3)
HELPERS = {"autoencoder": Quadrants().build(SHAPE, CLASSES)}


def arrays(count: int = 200) -> Arrays:
    images = torch.rand(count, 4, generator=torch.Generator().manual_seed(0)).reshape(-1, 1, 2, 2)
    part = Split(nn.functional.interpolate(images, size=SHAPE[1:]), torch.zeros(count, dtype=torch.int64))
    return Arrays(part, part, part)


def trained(procedure: Ddpg, seed: int = 0, progress: bool = False) -> nn.Module:
    found = fit_by(procedure, Actor(procedure.autoencoder, 32), arrays(), CLASSES, Witness(), HELPERS, seed, progress)
    network = Actor(procedure.autoencoder, 32).build(SHAPE, CLASSES)
    network.load_state_dict(found.weights)
    return network.eval().requires_grad_(False)


class Witness(Brightest):
    """`Brightest`, with a parameter that tells the device."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)


def problem(actor: nn.Module, count: int = 24) -> Problem:
    images = arrays().train.images[:count]
    targets = torch.arange(CLASSES).expand(count, -1).contiguous()
    helpers = HELPERS | {"actor": actor}
    return Problem(Witness(), images, targets, targets[:, 0], 7 * torch.arange(count), images[:1], helpers=helpers, chunk=16)


EXPLAINER = Reinforcement(autoencoder=Quadrants())


@pytest.fixture(scope="module")
def actor() -> nn.Module:
    return trained(TINY)


def validity(network: nn.Module) -> float:
    found = EXPLAINER(problem(network), RNG)
    return float(found.found.sum() / found.asked.sum())


def networks(latent: int = 5) -> tuple[ActorNetwork, Critic, Autoencoder]:
    torch.manual_seed(1)
    autoencoder = ConvAutoencoder(latent=latent, width=2).build((3, 5, 6), CLASSES)
    assert isinstance(autoencoder, Autoencoder)
    return ActorNetwork(latent, CLASSES, 7), Critic(latent, CLASSES, 7), autoencoder.requires_grad_(False)


def batch(count: int = 6, latent: int = 5) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    torch.manual_seed(2)
    codes, images = 2 * torch.rand(count, latent) - 1, torch.rand(count, 3, 5, 6)
    return (codes, torch.randint(CLASSES, (count,)), torch.randint(CLASSES, (count,))), images


def expected_losses() -> list[float]:
    """L_max, L_sparsity and L_consist of the paper, image by image and number by number, from the networks' layers themselves."""
    actor, critic, autoencoder = networks()
    (codes, predicted, targets), images = batch()
    values, distances, misses = [], [], []
    for code, label, target, image in zip(codes, predicted, targets, images, strict=True):
        state = [*code.tolist(), *(float(label == k) for k in range(CLASSES)), *(float(target == k) for k in range(CLASSES))]
        proposed = actor.layers(torch.tensor([state]))[0]
        values.append(critic.layers(torch.tensor([[*state, *proposed.tolist()]])).item())
        decoded = autoencoder.decoder(proposed[None])
        again = autoencoder.encoder(decoded)[0].tolist()
        distances += [abs(a - b) for a, b in zip(decoded.flatten().tolist(), image.flatten().tolist(), strict=True)]
        misses += [(a - b) ** 2 for a, b in zip(again, proposed.tolist(), strict=True)]
    return [-sum(values) / len(values), sum(distances) / len(distances), sum(misses) / len(misses)]


def check_losses(losses) -> None:
    actor, critic, autoencoder = networks()
    state, images = batch()
    found = losses(actor, critic, autoencoder, state, images, True)
    assert [found[name].item() for name in COLUMNS[2:]] == pytest.approx(expected_losses(), rel=1e-4)


def flipped(*arguments):
    found = actor_losses(*arguments)
    return found | {"max_loss": -found["max_loss"]}


def exchanged(actor, critic, autoencoder, state, images, consistent):
    return actor_losses(actor, critic, autoencoder, (state[0], state[2], state[1]), images, consistent)


def test_the_actors_losses_are_the_papers():
    check_losses(actor_losses)
    for mutant in (flipped, exchanged, lambda *a: actor_losses(*a[:4], 1 - a[4], a[5]), lambda *a: actor_losses(*a[:5], False)):
        with pytest.raises(AssertionError):
            check_losses(mutant)


def test_the_critic_regresses_on_the_reward():
    _, critic, _ = networks()
    state, _ = batch()
    codes, rewards = torch.rand(6, 5), torch.tensor([0.0, 1, 1, 0, 1, 0])
    estimates = critic(*state, codes).tolist()
    expected = sum((q - r) ** 2 for q, r in zip(estimates, rewards.tolist(), strict=True)) / 6
    assert critic_loss(critic, state, codes, rewards).item() == pytest.approx(expected, rel=1e-5)


def test_the_losses_move_the_actor_alone_and_the_consistency_does_so_through_the_proposed_code():
    actor, critic, autoencoder = networks()
    state, images = batch()
    with torch.no_grad():
        again = autoencoder.encoder(autoencoder.decoder(actor(*state)))
    expected = torch.autograd.grad((actor(*state) - again).square().mean(), list(actor.parameters()))
    found = torch.autograd.grad(actor_losses(actor, critic, autoencoder, state, images, True)["consistency_loss"], list(actor.parameters()))
    torch.testing.assert_close(found, expected)
    assert not actor_losses(actor, critic, autoencoder, state, images, False)["consistency_loss"].requires_grad


def check_exploration(explore) -> None:
    codes = torch.full((400, 50), 0.95)
    noisy, uniform = explore(codes, 0.1, RNG.shared()), explore(codes, None, RNG.shared())
    assert noisy.max() == 1.0  # clipped
    assert float((noisy == 1).float().mean()) == pytest.approx(0.309, abs=0.01)  # P(N(0, 1) > .5)
    assert float(explore(0 * codes, 0.1, RNG.shared()).std()) == pytest.approx(0.1, rel=0.02)
    assert (float(uniform.min()), float(uniform.max())) == pytest.approx((-1, 1), abs=1e-3)
    assert float(uniform.std()) == pytest.approx(1 / 3**0.5, rel=0.02)


def test_exploration_is_clipped_noise_and_uniform_at_first():
    check_exploration(explored)
    unclipped = lambda c, n, d: explored(c, n, d) if n is None else c + n * torch.randn(c.shape, generator=d)  # noqa: E731
    louder = lambda c, n, d: explored(c, None if n is None else 2 * n, d)  # noqa: E731
    never_uniform = lambda c, n, d: explored(c, 0.1, d)  # noqa: E731
    for mutant in (unclipped, louder, never_uniform):
        with pytest.raises(AssertionError):
            check_exploration(mutant)


def test_the_buffer_keeps_the_last_trials_and_draws_from_all_of_them():
    buffer, expected = ReplayBuffer(7, 2, torch.device("cpu")), deque(maxlen=7)
    for start in range(0, 21, 3):
        rows = torch.arange(start, start + 3)
        buffer.add(Trials(rows, rows + 1, torch.stack([rows + 2.0, rows + 3.0], 1), rows + 4.0))
        expected.extend(rows.tolist())
        drawn = buffer.sample(300, RNG.shared())
        assert len(buffer) == len(expected)
        assert set(drawn.rows.tolist()) == set(expected)
        assert torch.equal(
            torch.stack([drawn.targets - 1, *(drawn.codes.T - torch.tensor([[2], [3]])), drawn.rewards - 4]), drawn.rows.expand(4, -1)
        )


class Tenths(nn.Module):
    """Two classes with the image's mean, ten times, as the logits' difference; NaN for white images."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        logit = torch.where(mean == 1, torch.nan, 10 * mean - 5)
        return torch.stack([-logit / 2, logit / 2], dim=1)


def test_a_reward_is_a_counterfactual_by_the_rule_of_what_is_found():
    codes = torch.tensor([-0.5, -0.1, 0.1, 0.5, 1.0])[:, None].expand(-1, 4).contiguous()
    autoencoder = Quadrants().build(SHAPE, 2)
    assert isinstance(autoencoder, Autoencoder)
    for confidence, expected in ((0.0, [0, 0, 1, 1, 0]), (0.9, [0, 0, 0, 1, 0]), (1.0, [0, 0, 0, 0, 0])):
        world = World(Tenths(), autoencoder, arrays(10).train.images, torch.device("cpu"), confidence)
        assert world.rewards(codes, torch.ones(5, dtype=torch.int64)).tolist() == expected
        assert world.rewards(-codes[:4], torch.zeros(4, dtype=torch.int64)).tolist() == expected[:4]
    assert torch.equal(world.codes, autoencoder.encoder(world.images))


def test_training_reaches_most_targets(actor, monkeypatch):
    """Chance, for the constant code that suits one of four classes, is at most a third; not to move reaches none."""
    assert validity(actor) > 0.8
    monkeypatch.setattr(ddpg, "actor_losses", flipped)
    assert validity(trained(TINY)) < 0.5
    monkeypatch.setattr(ddpg, "actor_losses", actor_losses)
    monkeypatch.setattr(World, "rewards", lambda self, codes, targets: torch.ones(len(codes)))
    assert validity(trained(TINY)) < 0.5


def test_more_sparsity_changes_less(actor):
    def change(network: nn.Module) -> float:
        found, start = EXPLAINER(problem(network), RNG), problem(network).images[:, None]
        return float((found.images - start)[found.asked].abs().mean())

    assert change(trained(dataclasses.replace(TINY, sparsity=50.0))) < 0.8 * change(actor)


def test_the_same_seed_trains_the_same_actor(actor, capsys):
    short = dataclasses.replace(TINY, steps=12, consistency=0.5)
    assert torch.are_deterministic_algorithms_enabled() is False
    first, again, other = (
        torch.cat([v.flatten() for v in trained(short, s, p).state_dict().values()]) for s, p in ((0, False), (0, True), (1, False))
    )
    assert "training the actor" in capsys.readouterr().out
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("steps", "rows"), [(5, 5), (20, 20), (120, 60)])
def test_the_history(steps, rows):
    network = Actor(Quadrants(), 8).build(SHAPE, CLASSES)
    found = dataclasses.replace(TINY, steps=steps, consistency=0.1)(network, Witness(), HELPERS, arrays(), RNG, False)
    assert tuple(found) == COLUMNS
    assert all(values.shape == (rows,) and values.isfinite().all() for values in found.values())
    assert rows <= HISTORY
    assert 0 <= float(found["reward"].min()) <= float(found["reward"].max()) <= 1
    assert float(found["consistency_loss"].min()) >= 0


def test_proposals_do_not_depend_on_batch_order_or_chunk(actor):
    whole = problem(actor)
    expected = EXPLAINER(whole, RNG)
    order = torch.randperm(24, generator=RNG.shared())
    for rows in (order, torch.tensor([5])):
        for chunk in (1, 7, 1000):
            found = EXPLAINER(dataclasses.replace(whole.take(rows), chunk=chunk), RNG)
            torch.testing.assert_close(found.images, expected.images[rows], rtol=1e-5, atol=1e-6)
            assert torch.equal(found.found, expected.found[rows])


def test_no_pass_but_those_that_decide(actor):
    given = problem(actor)
    with cost.measure(given.model) as counted:
        found = EXPLAINER(given, RNG)
    assert EXPLAINER.unsupported(given) is None
    assert counted.passes == Passes(24 + 24 * 3)
    assert EXPLAINER.passes(given) == Passes(24 + 24 * 4)
    assert int(found.forward.sum() + found.backward.sum()) == 0
    assert torch.equal(found.asked.sum(1), torch.full((24,), 3))


def test_the_actor_is_trained_with_the_explainers_settings():
    training = Training(Digits(), Mlp(), Trainer(), seed=3)
    needs = Reinforcement(steps=7, sparsity=1.5, confidence=0.6, hidden=9, autoencoder=ConvAutoencoder(latent=5)).needs(training)
    assert needs["actor"].procedure == Ddpg(steps=7, sparsity=1.5, confidence=0.6, autoencoder=ConvAutoencoder(latent=5))
    assert (needs["actor"].model, needs["actor"].seed, needs["actor"].origin) == (Actor(ConvAutoencoder(latent=5), 9), 3, training)
    assert needs["actor"].procedure.needs(training) == {"autoencoder": needs["autoencoder"]}
    for field in dataclasses.fields(Settings):
        other = Reinforcement(**{field.name: 2 * getattr(Reinforcement(), field.name) + 1}).needs(training)
        assert train_key(other["actor"])[0] != train_key(Reinforcement().needs(training)["actor"])[0]
        assert other["autoencoder"] == Reinforcement().needs(training)["autoencoder"]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14)])
def test_the_actor_fits_the_codes_of_any_autoencoder(shape):
    network = Actor(ConvAutoencoder(latent=6, width=2)).build(shape, 3)
    assert isinstance(network, ActorNetwork)
    assert (network.latent, network.classes, network.hidden) == (6, 3, 256)
