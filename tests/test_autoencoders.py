"""Autoencoders: their shapes, their training as helpers of the stages, and the gate."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from xaibench import autoencoders
from xaibench.autoencoders import Autoencoder, ConvAutoencoder
from xaibench.component import ConfigurationError
from xaibench.datasets.digits import Digits
from xaibench.identity import train_key
from xaibench.models.linear import Linear
from xaibench.problem import Problem, Training
from xaibench.stages import Runtime, Stages, arrays_of
from xaibench.store import Store
from xaibench.training import Trainer

SMALL = ConvAutoencoder(latent=12, width=6, epochs=3)
CLASSIFIER = Training(Digits(), Linear(), Trainer(epochs=3), seed=0)


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> Stages:
    return Stages(Store(tmp_path_factory.mktemp("store")), Runtime("cpu"))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 13, 10), (1, 28, 28), (3, 9, 17)])
def test_any_image_goes_through_a_few_numbers_and_back(shape):
    network = ConvAutoencoder(latent=5, width=3).build(shape, 10)
    assert isinstance(network, Autoencoder)
    codes = network.encoder(20 * torch.rand(4, *shape) - 10)
    assert codes.shape == (4, 5)
    assert codes.abs().max() <= 1
    images = network.decoder(20 * torch.rand(4, 5) - 10)
    assert images.shape == (4, *shape)
    assert images.min() >= 0
    assert images.max() <= 1
    inside = torch.rand(4, *shape)
    assert torch.equal(network(inside), network.decoder(network.encoder(inside)))


@pytest.mark.parametrize("fields", [{"latent": 0}, {"width": 0}, {"epochs": 0}])
def test_fields_are_checked(fields):
    (name,) = fields
    with pytest.raises(ConfigurationError, match=name):
        ConvAutoencoder(**fields)


@pytest.mark.parametrize("seed", range(4))
def test_no_start_stays_at_the_mean_image(stages, seed):
    classifier, longer = dataclasses.replace(CLASSIFIER, seed=seed), dataclasses.replace(SMALL, epochs=20)
    history = stages.train(autoencoders.training(classifier, longer)).group("history")
    images = arrays_of(Digits()).validation.images
    variance = (images - images.mean(0)).square().mean()
    assert history["validation_loss"][-1] < 0.7 * variance  # three of four fail from PyTorch's own start


def test_training_lowers_the_error_and_records_no_accuracy(stages):
    needed = autoencoders.training(CLASSIFIER, SMALL)
    history = stages.train(needed).group("history")
    assert history.keys() == {"epoch", "train_loss", "validation_loss"}
    assert len(history["epoch"]) == SMALL.epochs
    assert (history["train_loss"].diff() < 0).all()
    images = arrays_of(Digits()).validation.images
    trained, new = stages.network(needed), SMALL.build((1, 8, 8), 10).requires_grad_(False)
    errors = [float((network(images) - images).square().mean()) for network in (trained, new)]
    assert errors[0] < 0.6 * errors[1]
    assert errors[0] == pytest.approx(float(history["validation_loss"].min()), rel=1e-3)
    assert not trained.training
    assert not any(parameter.requires_grad for parameter in trained.parameters())


def test_one_of_a_class_sees_that_class_alone_and_has_its_own_key(stages):
    alone = autoencoders.training(CLASSIFIER, dataclasses.replace(SMALL, epochs=60), only=3)
    other = dataclasses.replace(alone, only=4)
    keys = {train_key(training)[0] for training in (alone, other, dataclasses.replace(alone, only=None))}
    assert len(keys) == 3
    stages.train(alone)
    network, test = stages.network(alone), arrays_of(Digits()).test
    error = (network(test.images) - test.images).square().mean(dim=(1, 2, 3))
    others = torch.stack([error[test.labels == label].mean() for label in range(10) if label != 3])
    assert error[test.labels == 3].mean() < others.min()


def test_a_class_is_cut_from_training_and_validation_images_only(stages, monkeypatch):
    seen = {}

    def fit(model, arrays, *more):
        seen.update(train=arrays.train.labels, validation=arrays.validation.labels, test=arrays.test.labels)
        raise KeyboardInterrupt

    monkeypatch.setattr("xaibench.stages.fit", fit)
    with pytest.raises(KeyboardInterrupt):
        stages.train(autoencoders.training(CLASSIFIER, SMALL, only=7))
    whole = arrays_of(Digits())
    for part in ("train", "validation"):
        assert seen[part].unique().tolist() == [7]
        assert len(seen[part]) == int((getattr(whole, part).labels == 7).sum())
    assert torch.equal(seen["test"], whole.test.labels)


def test_every_field_of_the_helper_counts_in_its_key():
    key = train_key(autoencoders.training(CLASSIFIER, SMALL))[0]
    changed = [{"latent": 13}, {"width": 7}, {"epochs": 4}]
    keys = {train_key(autoencoders.training(CLASSIFIER, dataclasses.replace(SMALL, **fields)))[0] for fields in changed}
    assert len(keys | {key}) == 4
    assert train_key(autoencoders.training(dataclasses.replace(CLASSIFIER, seed=1), SMALL))[0] != key
    assert train_key(autoencoders.training(dataclasses.replace(CLASSIFIER, model=Linear(), trainer=Trainer(epochs=9)), SMALL))[0] == key


class Halves(nn.Module):
    """Class 1 where the image is brighter than a half."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1)
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


class Inverting(nn.Module):
    """Gives back the negative of those that are darker than its limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, images: Tensor) -> Tensor:
        dark = images.flatten(1).mean(1)[:, None, None, None] < self.limit
        return torch.where(dark, 1 - images, images)


def problem_of() -> Problem:
    images = torch.linspace(0.05, 0.95, 10)[:, None, None, None].expand(10, 1, 8, 8).clone()
    zeros = torch.zeros(10, 1, dtype=torch.int64)
    return Problem(Halves(), images, zeros, zeros[:, 0], torch.arange(10), images[:1], chunk=3)


@pytest.mark.parametrize(("limit", "kept"), [(0.0, 1.0), (0.2, 0.8), (1.1, 0.0)])
def test_the_gate_is_the_share_of_reconstructions_that_keep_their_class(limit, kept):
    problem = problem_of()
    for least in (0.0, 0.5, 0.8, 0.81, 1.0):
        reason = autoencoders.unfit(problem, Inverting(limit), least)
        assert (reason is None) == (kept >= least)
        if reason is not None:
            assert reason.startswith("the autoencoder is not good enough: ")
            assert f"{kept:.1%} of the reconstructed images keep their predicted class, expected at least {least:.1%}" in reason
            error = float((Inverting(limit)(problem.images) - problem.images).square().mean())
            assert f"(mean squared error {error:.3g})" in reason


def test_a_collapsed_autoencoder_is_told():
    class Collapsed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.full_like(images, 0.3)

    assert "50.0%" in autoencoders.unfit(problem_of(), Collapsed(), 0.8)


def test_images_go_through_in_chunks():
    seen = []

    class Counting(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return images + 1

    problem = problem_of()
    assert torch.equal(autoencoders.through(problem, Counting(), problem.images), problem.images + 1)
    assert seen == [3, 3, 3, 1]
