"""Networks in memory: what is explained is the network that is given, results of another are never served, and helpers are trained anew."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import xaibench
from xaibench.arguments import content
from xaibench.component import ConfigurationError
from xaibench.datasets.digits import Digits
from xaibench.given import given
from xaibench.grid import _untrainable
from xaibench.metrics.f_fidelity import FFidelity
from xaibench.metrics.roar import Roar
from xaibench.models.checkpoint import prepared
from xaibench.problem import Training
from xaibench.training import Trainer, fit

IMAGES = Digits().load().test.images[:40]
LABELS = Digits().load().test.labels[:40]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(144, 10)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).flatten(1))


class Noisy(Net):
    def forward(self, x):
        return super().forward(x + torch.rand(1, 1, 8, 8))


def hooked():
    network = Net().eval()
    network.register_forward_pre_hook(lambda module, arguments: ((arguments[0] - 0.5) * 10,))
    return network


def replaced():
    network = Net().eval()
    network.forward = lambda x: Net.forward(network, 10 * x)
    return network


@pytest.mark.parametrize("make", [hooked, replaced])
def test_a_network_that_loses_something_when_it_is_rewritten_is_refused_and_explained_as_it_is(make):
    with pytest.raises(ConfigurationError, match=r"model\.rewrite=true: Net rewritten gives other logits.*rewrite=False.*--no-rewrite"):
        xaibench.explain(make(), IMAGES[:3], ["gradient"])
    network, images = make(), IMAGES[:3].clone().requires_grad_()
    expected = torch.autograd.grad(network(images)[:, 2].sum(), images)[0]
    found = xaibench.explain(make(), IMAGES[:3], ["gradient"], targets=[2], rewrite=False)["gradient"][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_a_random_layer_is_told_also_where_tracing_makes_it_a_constant():
    with pytest.raises(ConfigurationError, match="expected the same logits for the same images; is there a random layer"):
        xaibench.explain(Noisy().eval(), IMAGES[:3], ["gradient"])


FACTOR = 1.0


class Scaled(Net):
    """Differs from others of its kind in what no look at its attributes tells."""

    def __init__(self, factor=1.0):
        super().__init__()
        self._factor, self.table = factor, np.ones(2000)
        self.table[1000] = factor

    def forward(self, x):
        return super().forward(x) * self._factor * self.table[1000] * FACTOR


def tail_hooked():
    network = Net().eval()
    network.head.register_forward_hook(lambda module, arguments, out: out * 50)
    return network


@pytest.mark.parametrize("rewrite", [True, False])
def test_a_store_knows_networks_apart_by_their_logits(tmp_path, monkeypatch, rewrite):
    def scores(network):
        found = xaibench.evaluate(network, IMAGES[:3], None, ["gradient"], ["deletion"], targets=[0], rewrite=rewrite, store=tmp_path)
        return found[found["score"] == "value"]["value"].tolist()

    plain = scores(Net().eval())
    assert scores(tail_hooked()) != plain
    assert scores(Net().eval()) == plain
    one = scores(Scaled().eval())
    assert scores(Scaled(50.0).eval()) != one
    monkeypatch.setitem(globals(), "FACTOR", 50.0)
    assert scores(Scaled().eval()) != one


def components(network, mean=0.0, train=(IMAGES, LABELS)):
    whole = prepared(network, 1, (mean,), (1.0,), rewrite=True)
    return given(content(IMAGES, torch.zeros(len(IMAGES), 10), LABELS, train, None, ()), whole, network)


def test_helpers_start_from_new_weights_of_the_seed_and_are_trained_in_train_mode():
    with components(Net().eval(), mean=0.3) as (dataset, model):
        weights = {}
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            weights.setdefault(seed, []).append(model.build(dataset.shape, 10).state_dict())
        assert torch.equal(weights[0][0]["1.head.weight"], weights[0][1]["1.head.weight"])
        assert not torch.equal(weights[0][0]["1.head.weight"], weights[1][0]["1.head.weight"])
        assert not torch.equal(weights[0][0]["1.head.weight"], model.pretrained(dataset.shape, 10)["1.head.weight"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = fit(model, dataset.load(), 10, Trainer(epochs=2), 0, torch.device("cpu")).weights
    assert found["1.norm.running_mean"].abs().min() > 0
    assert found["0.running_mean"].tolist() == pytest.approx([0.3])  # the normalization is the user's, and stays
    assert found["0.running_var"].tolist() == [1.0]


def test_roar_of_a_given_network_does_not_know_the_trained_weights():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        for _ in range(300):
            network[1].weight -= torch.autograd.functional.jacobian(
                lambda weight: nn.functional.cross_entropy(nn.functional.linear(IMAGES.flatten(1), weight), LABELS), network[1].weight
            )
    found = xaibench.evaluate(
        network.eval(), IMAGES, LABELS, ["random"], [Roar(fractions=(0.01,), epochs=1)], train=(IMAGES, LABELS), device="cpu"
    )
    assert (found.attrs["skipped"], found.attrs["failed"]) == ({}, {})
    assert found[found["score"] == "value"]["value"].mean() < 0.4  # the trained one is right on all


def test_what_must_be_trained_is_skipped_without_training_images():
    found = xaibench.evaluate(Net().eval(), IMAGES, LABELS, ["gradient"], ["roar", "f_fidelity", "deletion"])
    assert {metric for _, metric in found.attrs["skipped"]} == {"roar", "f_fidelity"}
    assert {*found.attrs["skipped"].values()} == {
        "needs a network to be trained, and no training images are given: expected train=(images, labels)"
    }


class Token(Net):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.ones(10))

    def forward(self, x):
        return super().forward(x) + self.token


def test_a_module_that_cannot_draw_new_weights_is_told():
    metrics = [Roar(epochs=1), FFidelity(epochs=1)]
    found = xaibench.evaluate(Token().eval(), IMAGES, LABELS, ["random"], metrics, train=(IMAGES, LABELS))
    assert list(found.attrs["skipped"]) == [("random", "Roar")]  # the other one starts from the given weights
    assert found.attrs["skipped"]["random", "Roar"].startswith("module 'Token' has parameters and no reset_parameters()")
    assert found.attrs["failed"] == {}


def test_a_second_classifier_is_not_the_same_one_again():
    with components(Net().eval()) as (dataset, model):
        assert "needs a second classifier" in _untrainable(Training(dataset, model, Trainer(), seed=1000))
