"""ResNet-50: its published size, its shapes, torchvision's names, and that rules which follow modules see all of it."""

import pytest
import torch

from xaibench.component import ConfigurationError
from xaibench.explainers.deep_lift import DeepLift
from xaibench.explainers.full_grad import FullGrad
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.guided_backpropagation import GuidedBackpropagation
from xaibench.explainers.lrp_epsilon_plus import LrpEpsilonPlus
from xaibench.models.checkpoint import Checkpoint
from xaibench.models.resnet50 import BottleneckNetwork, Resnet50
from xaibench.problem import Problem

SMALL = Resnet50(width=4, blocks=(1, 2, 1, 1))


@pytest.fixture(scope="module")
def problem() -> Problem:
    torch.manual_seed(0)
    network = SMALL.build((3, 64, 64), 5).eval().requires_grad_(False)
    targets = torch.tensor([[0], [3]])
    return Problem(network, torch.rand(2, 3, 64, 64), targets, targets[:, 0], torch.arange(2), torch.rand(2, 3, 64, 64), chunk=8)


def test_the_size_is_the_published_one():
    network = BottleneckNetwork()
    assert sum(parameter.numel() for parameter in network.parameters()) == 25_557_032
    assert sum(isinstance(module, torch.nn.Conv2d) for module in network.modules()) == 53
    assert sum(isinstance(module, torch.nn.ReLU) for module in network.modules()) == 49


def test_maps_halve_where_the_paper_says(problem):
    shapes = {}
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: shapes.__setitem__(name, tuple(output.shape[1:])))
        for name, module in problem.classifier.named_children()
    ]
    logits = problem.classifier(problem.images)
    for handle in handles:
        handle.remove()
    assert shapes == {
        "conv1": (4, 32, 32),
        "bn1": (4, 32, 32),
        "relu": (4, 32, 32),
        "maxpool": (4, 16, 16),
        "layer1": (16, 16, 16),
        "layer2": (32, 8, 8),
        "layer3": (64, 4, 4),
        "layer4": (128, 2, 2),
        "avgpool": (128, 1, 1),
        "flatten": (128,),
        "fc": (5,),
    }
    assert logits.isfinite().all()


def test_parameters_have_the_names_of_torchvision():
    names = set(BottleneckNetwork(classes=2, width=4).state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "layer1.0.downsample.1.bias"} <= names
    assert {"layer3.5.conv3.weight", "layer4.2.bn3.weight", "fc.bias"} <= names
    assert not any("relu" in name or "flatten" in name for name in names)


def test_a_file_of_weights_can_be_taken(tmp_path):
    network = BottleneckNetwork(classes=2, width=4).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = Checkpoint("xaibench.models.resnet50.BottleneckNetwork", str(tmp_path / "weights.pth"), ("classes:2", "width:4"))
    found = model.network()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(found(images), network(images))


@pytest.mark.parametrize("explainer", [GuidedBackpropagation(), DeepLift(), LrpEpsilonPlus(), GradCam(), FullGrad()], ids=repr)
def test_methods_that_follow_modules_take_it(explainer, problem):
    assert explainer.unsupported(problem) is None


def test_grad_cam_finds_the_last_block(problem):
    assert GradCam().located(problem).module is problem.classifier.layer4[0].relu3


def test_what_cannot_be_is_told():
    assert "at least 32x32" in Resnet50().unsupported((3, 28, 28), 10)
    assert Resnet50().unsupported((3, 224, 224), 1000) is None
    with pytest.raises(ConfigurationError, match="four numbers"):
        Resnet50(blocks=(3, 4, 6))
