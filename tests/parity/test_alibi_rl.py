"""Reinforcement learning of counterfactuals: our update is alibi's, on the same networks and trials; and its training by the adapter."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from xaibench.adapters import alibi
from xaibench.autoencoders import Autoencoder, ConvAutoencoder
from xaibench.counterfactuals.actor import ActorNetwork, Critic
from xaibench.counterfactuals.ddpg import Ddpg, World
from xaibench.counterfactuals.replay import Trials

pytestmark = pytest.mark.skipif(importlib.util.find_spec("alibi") is None, reason="alibi, an optional library, is not installed")

SHAPE, CLASSES, LATENT, HIDDEN, COUNT = (1, 8, 9), 4, 5, 16, 12
LOSSES = {"sparsity": 3.0, "consistency": 0.7}


@pytest.fixture
def autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    network = ConvAutoencoder(latent=LATENT, width=2).build(SHAPE, CLASSES).eval().requires_grad_(False)
    assert isinstance(network, Autoencoder)
    return network


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(72, CLASSES)).eval().requires_grad_(False)


def with_weights(reference: nn.Module, ours: nn.Module, inputs: int) -> nn.Module:
    """alibi's network with our weights: five layers in the same order."""
    reference(torch.zeros(2, inputs))
    values = iter(list(ours.parameters()))
    with torch.no_grad():
        for name in ("fc1", "ln1", "fc2", "ln2", "fc3"):
            for parameter in getattr(reference, name).parameters():
                parameter.copy_(next(values))
    return reference


def weights_of(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach() for parameter in network.parameters()]


def check_learning(autoencoder, classifier, procedure: Ddpg) -> None:
    """Three steps with the weights of `LOSSES` for alibi's, and with `procedure` for ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import's announcements, and that lazy layers are new
        from alibi.explainers.backends.pytorch import cfrl_base as backend

        actor, critic = ActorNetwork(LATENT, CLASSES, HIDDEN), Critic(LATENT, CLASSES, HIDDEN)
        their_actor = with_weights(backend.get_actor(HIDDEN, LATENT), actor, LATENT + 2 * CLASSES)
        their_critic = with_weights(backend.get_critic(HIDDEN), critic, 2 * LATENT + 2 * CLASSES)
    images = torch.rand(20, *SHAPE)
    world = World(classifier, autoencoder, images, torch.device("cpu"), 0.0)
    ours = procedure.optimizers(critic, actor)
    theirs = [backend.get_optimizer(network) for network in (their_critic, their_actor)]
    before = copy.deepcopy(weights_of(actor))
    for _ in range(3):
        rows, targets = torch.randint(20, (COUNT,)), torch.randint(CLASSES, (COUNT,))
        codes = 2 * torch.rand(COUNT, LATENT) - 1
        trials = Trials(rows, targets, codes, world.rewards(codes, targets))
        state = world.state(rows, targets)
        with torch.no_grad():
            decoded = autoencoder.decoder(actor(*state))
        found = procedure.learn(actor, critic, ours, world, [trials])
        expected = backend.update_actor_critic(
            encoder=autoencoder.encoder,
            decoder=autoencoder.decoder,
            critic=their_critic,
            actor=their_actor,
            optimizer_critic=theirs[0],
            optimizer_actor=theirs[1],
            sparsity_loss=backend.sparsity_loss,
            consistency_loss=lambda Z_cf_pred, Z_cf_tgt: {"consistency_loss": nn.functional.mse_loss(Z_cf_pred, Z_cf_tgt)},
            coeff_sparsity=LOSSES["sparsity"],
            coeff_consistency=LOSSES["consistency"],
            X=images[rows].numpy(),
            X_cf=decoded.numpy(),
            Z=state[0].numpy(),
            Z_cf_tilde=codes.numpy(),
            Y_m=nn.functional.one_hot(state[1], CLASSES).numpy(),
            Y_t=nn.functional.one_hot(targets, CLASSES).numpy(),
            C=None,
            R_tilde=trials.rewards.numpy(),
            device=torch.device("cpu"),
        )
        names = {
            "critic_loss": "critic_loss",
            "max_loss": "actor_loss",
            "sparsity_loss": "sparsity_loss",
            "consistency_loss": "consistency_loss",
        }
        # alibi adds the other terms to the actor's loss in place, after it was read
        assert_close(
            [found[a].item() for a in names], [float(torch.as_tensor(expected[b]).detach()) for b in names.values()], rtol=1e-4, atol=1e-6
        )
        assert_close(weights_of(critic), weights_of(their_critic), rtol=1e-4, atol=1e-5)
        assert_close(weights_of(actor), weights_of(their_actor), rtol=1e-4, atol=1e-5)
    assert max(float((a - b).abs().max()) for a, b in zip(before, weights_of(actor), strict=True)) > 1e-3


def test_critic_and_actor_learn_as_alibis(autoencoder, classifier):
    right = Ddpg(**LOSSES)
    check_learning(autoencoder, classifier, right)
    for wrong in ({"sparsity": 2.7}, {"consistency": 0.5}, {"actor_rate": 2e-3}, {"critic_rate": 5e-4}):
        with pytest.raises(AssertionError):
            check_learning(autoencoder, classifier, dataclasses.replace(right, **wrong))


def test_the_adapter_trains_alibis_and_leaves_everything_as_it_was(autoencoder, classifier, capsys):
    images, targets = torch.rand(30, *SHAPE), torch.randint(CLASSES, (7,))
    settings = {"steps": 15, "batch_size": 10, "sparsity": 1.0, "consistency": 0.5, "noise": 0.1, "buffer": 5, "warm_up": 3}
    flags, state = (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark), torch.get_rng_state()
    weights = copy.deepcopy(weights_of(autoencoder))
    results = []
    for seed in (0, 0, 1):
        explain = alibi.reinforcement(classifier, autoencoder.encoder, autoencoder.decoder, images, seed, **settings)
        results.append(explain(images[:7], targets))
    assert results[0].shape == (7, *SHAPE)
    assert 0 <= results[0].min() <= results[0].max() <= 1
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == flags
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, weights, weights_of(autoencoder)))
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="batch_size=10, got 9"):
        alibi.reinforcement(classifier, autoencoder.encoder, autoencoder.decoder, images[:9], 0, **settings)
