"""The class-conditional autoencoder: its losses against plain formulas, its training, and what the method makes of its network."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from counterfactual_cases import RNG, conv_pair_problem, counted, pairs_of
from torch import nn

from xaibench.counterfactuals import conditional_autoencoder
from xaibench.counterfactuals.class_conditional_decoder import ClassConditionalDecoder
from xaibench.counterfactuals.conditional_autoencoder import ConditionalAutoencoder, ConditionalAutoencoding, ConditionalNetwork, losses
from xaibench.datasets.digits import Digits
from xaibench.identity import train_key
from xaibench.models.mlp import Mlp
from xaibench.problem import Arrays, Passes, Training
from xaibench.training import Trainer, fit_by, load

METHOD = ClassConditionalDecoder(autoencoder=ConditionalAutoencoder(latent=3, width=12))
QUICK = ConditionalAutoencoding(epochs=20, batch_size=32, learning_rate=3e-3)


def network_of(problem, seed=0):
    torch.manual_seed(seed)
    return METHOD.autoencoder.build(tuple(problem.images.shape[1:]), 4).eval()


def with_network(problem, network=None):
    return replace(problem, helpers={"conditional": network or network_of(problem)})


def by_hand(network, image, label, noise):
    """Error and divergence of one image, value by value; the code's draw is given."""
    one_hot = torch.eye(4)[label]
    mean, log_variance = network.encoder(torch.cat([image.flatten(), one_hot])[None])[0].double().chunk(2)
    code = mean + log_variance.exp().sqrt() * noise.double()
    drawn = network.decoder(torch.cat([code.float(), one_hot])[None])[0].double().sigmoid()
    error = -sum(
        x * math.log(p) + (1 - x) * math.log(1 - p) for x, p in zip(image.flatten().tolist(), drawn.flatten().tolist(), strict=True)
    )
    divergence = sum((m * m + math.exp(v) - 1 - v) / 2 for m, v in zip(mean.tolist(), log_variance.tolist(), strict=True))
    return error, divergence


def check_losses():
    problem = conv_pair_problem(shape=(2, 8, 9))
    network, labels = network_of(problem), torch.tensor([0, 3, 1, 2])
    with torch.no_grad():
        network.encoder[-1].weight.mul_(9)
        found = losses(network, problem.images, labels, torch.Generator().manual_seed(1))
        noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
        expected = torch.tensor([by_hand(network, *one) for one in zip(problem.images, labels, noise, strict=True)]).double().mean(0)
    assert torch.allclose(found.double(), expected, rtol=1e-5)


def test_the_losses_are_those_of_a_conditional_variational_autoencoder():
    check_losses()


def test_other_losses_are_rejected(monkeypatch):
    code, drawn = ConditionalNetwork.code, ConditionalNetwork.drawn
    for name, mutant in (
        ("code", lambda self, images, classes: code(self, images, 0 * classes)),
        ("code", lambda self, images, classes: code(self, images, classes)[::-1]),
        ("drawn", lambda self, codes, classes: drawn(self, codes, 0 * classes)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(ConditionalNetwork, name, mutant)
            with pytest.raises(AssertionError):
                check_losses()


def check_images():
    """Encoded as the predicted class and decoded as the target."""
    problem = with_network(conv_pair_problem(batch=5))
    found, spent = counted(METHOD, problem)
    network, classes = problem.helpers["conditional"], torch.eye(4)
    for row, column in found.asked.nonzero().tolist():
        own = classes[problem.probabilities[row].argmax()]
        code = network.encoder(torch.cat([problem.images[row].flatten(), own])[None])[:, :3]
        expected = network.decoder(torch.cat([code[0], classes[problem.targets[row, column]]])[None]).sigmoid()[0]
        assert torch.allclose(found.images[row, column], expected, atol=1e-6)
    assert spent == Passes()
    assert found.asked.any()


def test_images_are_encoded_as_predicted_and_decoded_as_the_target():
    check_images()


def test_other_classes_are_rejected(monkeypatch):
    forward = ConditionalNetwork.forward
    for mutant in (
        lambda self, images, classes, others: forward(self, images, others, classes),
        lambda self, images, classes, others: forward(self, images, classes, classes),
        lambda self, images, classes, others: forward(self, images, others, others),
    ):
        monkeypatch.setattr(ConditionalNetwork, "forward", mutant)
        with pytest.raises(AssertionError):
            check_images()


def test_a_pair_does_not_depend_on_batch_order_neighbors_or_chunk():
    problem = with_network(conv_pair_problem(batch=5))
    together, order = METHOD(problem, RNG), torch.tensor([4, 0, 2])
    for part, rows in ((problem.take(order), order), (replace(problem, chunk=2), slice(None)), (problem.take(slice(2, 3)), slice(2, 3))):
        assert torch.allclose(METHOD(part, RNG).images, together.images[rows], atol=1e-6)


def test_the_network_only_sees_chunks():
    problem = with_network(conv_pair_problem(batch=9, chunk=4))
    sizes = []
    problem.helpers["conditional"].register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    METHOD(problem, RNG)
    assert max(sizes) <= 4
    assert sum(sizes) == len(pairs_of(problem))


def test_a_network_that_gives_nan_finds_nothing():
    problem = conv_pair_problem()
    network = network_of(problem)
    nn.init.constant_(network.decoder[-2].bias, torch.nan)
    assert not METHOD(with_network(problem, network), RNG).found.any()


# --- training


@lru_cache
def digits() -> Arrays:
    return Digits().load()


def trained(procedure: ConditionalAutoencoding, seed: int = 0):
    return fit_by(procedure, ConditionalAutoencoder(latent=4, width=64), digits(), 10, nn.Linear(1, 1), {}, seed)


@lru_cache
def history(divergence: float):
    return trained(replace(QUICK, divergence=divergence))


def told(divergence: float) -> float:
    """Share of the pairs of digit and other class whose image a classifier of the nearest training image takes for that class."""
    arrays, network = (
        digits(),
        load(ConditionalAutoencoder(latent=4, width=64), (1, 8, 8), 10, history(divergence).weights, torch.device("cpu")),
    )
    images, labels = arrays.test.images[:60], arrays.test.labels[:60]
    targets = (labels[:, None] + torch.arange(1, 10)) % 10
    with torch.inference_mode():
        made = network(images.repeat_interleave(9, 0), labels.repeat_interleave(9), targets.flatten())
    nearest = torch.cdist(made.flatten(1), arrays.train.images.flatten(1)).argmin(1)
    return float((arrays.train.labels[nearest] == targets.flatten()).double().mean())


def test_training_lowers_the_loss_and_logs_its_parts():
    found = history(3.0).history
    assert set(found) == {f"{part}_{name}" for part in ("train", "validation") for name in conditional_autoencoder.PARTS}
    for part in ("train", "validation"):
        loss, error, divergence = (found[f"{part}_{name}"] for name in conditional_autoencoder.PARTS)
        assert loss.shape == (20,)
        assert torch.allclose(loss, error + 3 * divergence, rtol=1e-5)
        assert loss[-1] < 0.9 * loss[0]


def test_the_trained_decoder_obeys_the_class_that_it_is_given():
    assert told(3.0) > 0.9
    assert told(0.0) < 0.8  # the code tells the class


def test_training_is_the_same_twice_and_another_with_another_seed():
    short = replace(QUICK, epochs=1)
    first, again, other = (trained(short, seed).weights for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_what_is_trained_follows_from_the_fields():
    training = Training(Digits(), Mlp(), Trainer(), 0)
    own = METHOD.needs(training)["conditional"]
    assert (own.origin, own.procedure, own.seed, own.only) == (training, METHOD.training, 0, None)
    others = [
        replace(METHOD, training=replace(METHOD.training, divergence=1.0)),
        replace(METHOD, autoencoder=ConditionalAutoencoder(latent=4)),
    ]
    keys = {train_key(method.needs(training)["conditional"])[0] for method in (METHOD, *others)}
    assert len(keys) == 3


def test_a_black_box_is_enough():
    class Black(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :4].detach()

    problem = conv_pair_problem()
    assert METHOD.unsupported(replace(problem, model=Black())) is None
