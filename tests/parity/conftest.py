"""A network trained on real images: MNIST where `XAIBENCH_DATA` names its folder, else scikit-learn's digits, enlarged to its size."""

import os

import pytest
import torch
from torch import nn
from torch.nn import functional

from xaibench.datasets.digits import Digits
from xaibench.datasets.mnist import Mnist
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.problem import Arrays, Problem, Split
from xaibench.training import Trainer, fit, load

TRAIN, VALIDATION, TEST = 4000, 200, 400


def few(split: Split, count: int) -> Split:
    order = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(0))[:count]
    images = split.images[order]
    if images.shape[-1] != 28:
        images = functional.interpolate(images, size=(28, 28), mode="bilinear")
    return Split(images, split.labels[order])


@pytest.fixture(scope="session")
def arrays() -> Arrays:
    whole = (Mnist() if os.environ.get("XAIBENCH_DATA") else Digits()).load()
    return Arrays(few(whole.train, TRAIN), few(whole.validation, VALIDATION), few(whole.test, TEST))


@pytest.fixture(scope="session")
def network(arrays) -> nn.Module:
    """Study B's network after as many steps as one epoch over 4,000 images takes."""
    epochs = round(TRAIN / len(arrays.train.labels))
    trained = fit(Conv10Conv20Dense50(), arrays, 10, Trainer(epochs=epochs, batch_size=32), 0, torch.device("cpu"))
    return load(Conv10Conv20Dense50(), (1, 28, 28), 10, trained.weights, torch.device("cpu"))


@pytest.fixture(scope="session")
def trained(arrays, network) -> Problem:
    """Test images of six classes, explained for all ten, against 20 training images."""
    labels = arrays.test.labels
    rows = torch.stack([(labels == label).nonzero()[0, 0] for label in range(6)])
    targets = torch.arange(10).expand(6, 10).contiguous()
    return Problem(network, arrays.test.images[rows], targets, labels[rows], rows, arrays.train.images[:20], chunk=64)
