"""`xaibench.evaluate`: a network and images in memory, with the numbers of the command line."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import xaibench
from xaibench.component import ConfigurationError
from xaibench.datasets.digits import Digits
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.metrics.deletion import Deletion
from xaibench.perturb import Problem
from xaibench.seeding import Rng
from xaibench.tables.aggregate import aggregate


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


class Halving(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x) / 2


class Doubling(Halving):
    def forward(self, x):
        return self.network(x) * 2


Doubling.__name__ = "Halving"


def test_five_lines(network, digits):
    found = xaibench.evaluate(
        network,
        digits.test.images[:6],
        digits.test.labels[:6],
        explainers=["integrated_gradients", "sobel"],
        metrics=["deletion", "sparseness"],
    )
    assert set(found["explainer"]) == {"integrated_gradients", "sobel"}
    assert set(found["metric"]) == {"deletion", "sparseness"}
    headline = found[found["score"] == "value"]
    assert len(headline) == 2 * 2 * 6
    assert sorted(headline["index"].unique()) == list(range(6))
    assert set(headline["label"].unique()) == set(digits.test.labels[:6].tolist())
    assert (found.attrs["skipped"], found.attrs["failed"]) == ({}, {})
    table = aggregate(found)
    assert table["images"].unique().tolist() == [6]


def test_the_numbers_are_those_of_the_components(network, digits):
    images = digits.test.images[:5]
    explainer, metric = IntegratedGradients(steps=7), Deletion(steps=4)
    found = xaibench.evaluate(network, images, explainers={"mine": explainer}, metrics=[metric], rewrite=False, device="cpu")
    targets = network(images).argmax(1)
    problem = Problem(network.requires_grad_(False), images, targets[:, None], targets, torch.arange(5), images)
    expected = metric(problem, explainer(problem, Rng(0, 0, "IntegratedGradients")), Rng(0, 0, "Deletion")).values["value"]
    rows = found[found["score"] == "value"].sort_values("index")
    assert rows["explainer"].unique().tolist() == ["mine"]
    np.testing.assert_allclose(rows["value"], expected[:, 0], rtol=1e-5, atol=1e-6)


def test_normalization_is_a_part_of_the_network(network, digits):
    images = digits.test.images[:4]
    direct = xaibench.evaluate(network, images, explainers=["gradient"], metrics=["sparseness"])

    class Normalizing(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network((x - 0.4) / 2)

    inside = xaibench.evaluate(Normalizing(), images, explainers=["gradient"], metrics=["deletion"])
    outside = xaibench.evaluate(network, images, explainers=["gradient"], metrics=["deletion"], mean=[0.4], std=[2])
    np.testing.assert_allclose(inside["value"], outside["value"], rtol=1e-4, atol=1e-6)
    assert len(direct)


def test_gradients_are_taken_whatever_mode_the_caller_is_in(network, digits):
    images = digits.test.images[:3]
    wanted = xaibench.evaluate(network, images, explainers=["gradient"], metrics=["sparseness"])
    with torch.inference_mode():
        found = xaibench.evaluate(network, images * 1, explainers=["gradient"], metrics=["sparseness"])
    pd.testing.assert_frame_equal(found, wanted)


def test_the_users_network_stays_as_it_is(digits):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(16, 10)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = xaibench.evaluate(network, digits.test.images[:4], explainers=["deep_lift"], metrics=["completeness_error", "mprt"])
    assert network.training
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    errors = found[(found["metric"] == "completeness_error") & (found["score"] == "value")]["value"]
    assert errors.max() < 1e-4


def test_modes_that_differ_between_modules_stay_so(digits):
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64).eval(), nn.Dropout(0.5), nn.Linear(64, 10))
    network.training = False  # as a frozen layer inside, or a sampling one, may be
    before = [module.training for module in network.modules()]
    assert {*before} == {True, False}
    xaibench.evaluate(network, digits.test.images[:4], explainers=["gradient"], metrics=["sparseness"])
    assert [module.training for module in network.modules()] == before


def test_a_network_in_train_mode_is_told(network, digits, caplog):
    xaibench.evaluate(nn.Sequential(network).train(), digits.test.images[:2], explainers=["sobel"], metrics=["sparseness"])
    assert "expected a network in eval mode" in caplog.text


def test_what_is_skipped_is_told_with_its_reason(network, digits, caplog):
    found = xaibench.evaluate(network, digits.test.images[:2], explainers=["gradient"], metrics=["sparseness", "pointing_game"])
    assert "true masks" in found.attrs["skipped"]["gradient", "pointing_game"]
    assert "pointing_game of gradient: needs true masks" in caplog.text
    masks = np.zeros((2, 8, 8))
    masks[:, 2:5, 2:5] = 1
    scored = xaibench.evaluate(network, digits.test.images[:2], explainers=["gradient"], metrics=["pointing_game"], masks=masks)
    assert scored.attrs["skipped"] == {}
    assert set(scored["value"]) <= {0.0, 1.0}


def test_training_images_are_the_background(network, digits):
    images, train = digits.test.images[:3], (digits.train.images[:50], digits.train.labels[:50])
    own = xaibench.evaluate(network, images, explainers=["deep_shap"], metrics=["deletion"])
    theirs = xaibench.evaluate(network, images, explainers=["deep_shap"], metrics=["deletion"], train=train)
    assert not np.allclose(own["value"], theirs["value"])


def test_a_store_keeps_results_and_knows_the_network_by_its_weights(network, digits, tmp_path):
    def call(net, images=digits.test.images[:3], **more):
        return xaibench.evaluate(net, images, explainers=["gradient"], metrics=["deletion"], store=tmp_path / "store", **more)

    def kept():
        return len(list((tmp_path / "store" / "evaluate").iterdir()))

    first = call(network)
    again = call(network)
    pd.testing.assert_frame_equal(first, again)
    assert kept() == 1
    other = nn.Sequential(*(type(part)(*arguments) for part, arguments in zip(network, [(1, 4, 3), (), (), (144, 10)], strict=True)))
    other.load_state_dict({name: value * 1.5 for name, value in network.state_dict().items()})
    call(other.eval())
    assert kept() == 2
    call(network, digits.test.images[1:4])
    assert kept() == 3
    call(network, mean=[0.5])
    assert kept() == 4
    smooth = nn.Sequential(network[0], nn.Softplus(), *network[2:])  # the same weights
    call(smooth.eval())
    assert kept() == 5
    one, two = Halving(network), Doubling(network)
    call(one.eval(), rewrite=False)
    call(two.eval(), rewrite=False)
    assert kept() == 7


def test_explainers_of_one_name_are_told_apart(network, digits):
    twice = [IntegratedGradients(steps=5), IntegratedGradients(steps=9)]
    found = xaibench.explain(network, digits.test.images[:2], twice, device="cpu")
    assert list(found) == ["IntegratedGradients[steps=5]", "IntegratedGradients[steps=9]"]
    assert not np.array_equal(*found.values())


class Powered(nn.Module):
    """Differs from others of its kind in what is in no weight."""

    def __init__(self, power, table):
        super().__init__()
        self.power, self.table = power, torch.tensor(table)
        torch.manual_seed(0)
        self.layer = nn.Linear(64, 10)
        self.register_buffer("scale", torch.tensor(table), persistent=False)

    def forward(self, images):
        return self.layer(images.flatten(1) ** self.power) * self.table * self.scale


def test_a_store_knows_networks_apart_by_all_that_they_hold(digits, tmp_path):
    images = digits.test.images
    networks = [Powered(1, 1.0), Powered(3, 1.0), Powered(1, -1.0), Powered(1, 1.0)]
    scores = []
    for network in networks:
        given = {"explainers": ["gradient"], "metrics": ["deletion"], "rewrite": False, "device": "cpu"}
        kept = xaibench.evaluate(network.eval(), images[:4], store=tmp_path / "store", **given)
        scores.append(kept["value"].tolist())
        assert scores[-1] == xaibench.evaluate(network.eval(), images[:4], **given)["value"].tolist()
    assert scores[0] == scores[3]
    assert len(list((tmp_path / "store" / "evaluate").iterdir())) == 3


def test_all_classes_can_be_explained(network, digits):
    found = xaibench.evaluate(network, digits.test.images[:2], explainers=["gradient"], metrics=["sparseness"], targets="all")
    assert sorted(found["target"].unique()) == list(range(10))
    found = xaibench.evaluate(network, digits.test.images[:2], explainers=["gradient"], metrics=["sparseness"], targets=[3, 5])
    assert sorted(found["target"].unique()) == [3, 5]


def test_an_explainer_that_fails_is_left_out_with_its_reason(network, digits, caplog):
    class Failing(IntegratedGradients):
        def __call__(self, problem, rng):
            raise RuntimeError("boom")

    found = xaibench.explain(network, digits.test.images[:2], {"bad": Failing(), "gradient": "gradient", "other": "counterfactual/wachter"})
    assert list(found) == ["gradient"]
    assert "bad: failed: RuntimeError: boom" in caplog.text
    assert "other: gives counterfactuals" in caplog.text


def test_reversed_channels_of_numpy(network, digits):
    images = np.random.default_rng(0).random((2, 3, 8, 8))
    one = nn.Sequential(nn.Conv2d(3, 1, 1), *network).eval()
    kept, again = (xaibench.explain(one, given, ["gradient"])["gradient"] for given in (images[:, ::-1], images[:, ::-1].copy()))
    np.testing.assert_array_equal(kept, again)


class Pair(nn.Linear):
    def __init__(self):
        super().__init__(64, 10)

    def forward(self, x):
        return super().forward(x), x


IMAGES = torch.rand(3, 1, 8, 8)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"images": IMAGES[0]}, r"images of shape \(1, 8, 8\): expected \(N, C, H, W\)"),
        ({"images": torch.rand(4, 8, 8, 3)}, r"images of shape \(4, 8, 8, 3\): expected \(N, C, H, W\); .* channels last: permute"),
        ({"images": IMAGES * 255}, r"expected floating point numbers in \[0, 1\]"),
        ({"images": IMAGES - 0.5}, "normalization is told by mean and std"),
        ({"images": (IMAGES * 255).byte()}, "expected floating point numbers"),
        ({"images": torch.full((2, 1, 8, 8), float("nan"))}, "expected floating point numbers"),
        ({"labels": [0, 1]}, r"labels of shape \(2,\).*expected \(3,\) integers"),
        ({"labels": [0.5, 1, 2]}, "integers from 0"),
        ({"labels": [0, 1, 10]}, "expected numbers below 10, as the model has so many outputs, got 10"),
        ({"class_names": ["a", "b"]}, "expected 10 names"),
        ({"explainers": ["gradiant"]}, "did you mean 'gradient'"),
        ({"explainers": []}, "explainers: expected one or more names"),
        ({"explainers": "gradient"}, "expected a list"),
        ({"metrics": [IntegratedGradients()]}, "Metric components, got IntegratedGradients"),
        ({"masks": np.zeros((3, 4, 4))}, r"masks of shape \(3, 4, 4\)"),
        ({"train": (torch.rand(4, 3, 8, 8), [0, 1, 2, 3])}, r"train: expected images of shape \(1, 8, 8\)"),
        ({"targets": [12]}, "expected classes below 10"),
        ({"mean": [0.1, 0.2]}, r"mean=\[0.1, 0.2\]: expected 1 number, or 1"),
        ({"std": [0.0]}, r"std=\[0.0\]: expected numbers above 0"),
        ({"device": "abacus"}, "runtime.device='abacus'"),
        ({"model": nn.Conv2d(1, 2, 3)}, r"expected logits \(N, K\)"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 1))}, r"two classes or more, got one output.*\[0, z\]"),
        ({"model": nn.Conv2d(3, 2, 3)}, r"model=Conv2d: expected a network for images of shape \(1, 8, 8\)"),
        ({"images": torch.rand(3, 8, 6, 1)}, r"images of shape \(3, 8, 6, 1\): .* channels last: permute"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()}, r"its weights are torch.float64: give model.float\(\)"),
        ({"model": nn.Sequential(nn.Flatten(), Pair())}, r"expected logits \(N, K\), one tensor, got tuple"),
        ({"model": torch.relu}, "expected a torch.nn.Module"),
        ({"labels": ["a", "b", "c"]}, "labels of type list: expected an array or a tensor of numbers"),
        ({"train": (IMAGES, None)}, r"train\[1\] of type NoneType: expected an array"),
        ({"train": IMAGES}, r"train of type Tensor: expected \(images, labels\)"),
        ({"train": (IMAGES, [0, 1, 10])}, r"train\[1\]: expected numbers below 10"),
        ({"targets": 1}, r"targets=1: expected one of predicted"),
        ({"mean": 0.5}, r"mean=0.5: expected 1 number, or 1, one for each channel, in a list"),
        ({"masks": np.zeros((3, 5, 8, 8))}, r"masks of shape \(3, 5, 8, 8\).*here \(3, 8, 8\) or \(3, 10, 8, 8\)"),
        ({"store": "/proc/none"}, "store='/proc/none': expected a folder that can be made"),
        ({"store": __file__}, "expected a folder, or none yet, and it is a file"),
        ({"metrics": ["suite/complexity"]}, "metric=suite/complexity: expected one of abpc"),
    ],
)
def test_mistakes(network, given, told):
    arguments = {"model": network, "images": IMAGES, "explainers": ["gradient"], "metrics": ["sparseness"]} | given
    with pytest.raises((ValueError, ConfigurationError), match=told):
        xaibench.evaluate(**arguments)


def test_the_package_imports_without_torch():
    import subprocess
    import sys

    code = "import sys, xaibench; assert 'torch' not in sys.modules; assert not hasattr(xaibench, 'nothing'); xaibench.evaluate"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_table_of_nothing_has_its_columns(network, digits):
    images, labels = digits.test.images[:4], digits.test.labels[:4]
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    found = xaibench.evaluate(flat, images, labels, explainers=["grad_cam"], metrics=["deletion"])
    assert found.query("score == 'value'").empty
    assert "no 2D convolution" in found.attrs["skipped"]["grad_cam", "deletion"]
