from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from xaibench.component import ConfigurationError
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.models.conv16_conv32_gap import Conv16Conv32Gap
from xaibench.models.conv32_conv64_dense32 import Conv32Conv64Dense32
from xaibench.models.conv32_conv64_dense64 import Conv32Conv64Dense64
from xaibench.models.conv32_conv64_dense128 import Conv32Conv64Dense128
from xaibench.models.conv32_dense256 import Conv32Dense256
from xaibench.models.conv64_conv32_dense256 import Conv64Conv32Dense256
from xaibench.models.linear import Linear
from xaibench.models.mlp import Mlp
from xaibench.models.resnet import Resnet
from xaibench.problem import Model
from xaibench.seeding import global_seed

STUDIES = {  # parameters on 28 x 28 grey images with ten classes
    Conv32Conv64Dense32: 70_378,
    Conv10Conv20Dense50: 21_840,
    Conv64Conv32Dense256: 412_778,
    Conv32Conv64Dense64: 515_146,
    Conv32Dense256: 1_387_594,
    Conv32Conv64Dense128: 1_199_882,
}
OTHERS = {
    Linear: 28 * 28 * 10 + 10,
    Mlp: 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10,
    Conv16Conv32Gap: 16 * 9 + 16 + 16 * 32 * 9 + 32 + 32 * 10 + 10,
    # 9 c c' weights a convolution, 2 c a normalization; the second and the third stage have a projection
    Resnet: (144 + 32) + 2 * (2304 + 32) + (4608 + 9216 + 512 + 3 * 64) + (18432 + 36864 + 2048 + 3 * 128) + 650,
}
ALL = STUDIES | OTHERS
KERAS = [Conv32Conv64Dense32, Conv64Conv32Dense256, Conv32Conv64Dense64, Conv32Dense256, Conv32Conv64Dense128]
LEAST = {  # smallest side of an image
    Conv32Conv64Dense32: 10,
    Conv10Conv20Dense50: 16,
    Conv64Conv32Dense256: 4,
    Conv32Conv64Dense64: 8,
    Conv32Dense256: 4,
    Conv32Conv64Dense128: 6,
    Conv16Conv32Gap: 2,
    Resnet: 4,
    Linear: 1,
    Mlp: 1,
}
DROPOUT = {
    Conv32Conv64Dense32: [0.2, 0.2, 0.2],
    Conv10Conv20Dense50: [0.5, 0.5],
    Conv64Conv32Dense256: [0.3, 0.3, 0.5],
    Conv32Conv64Dense128: [0.25, 0.5],
}
every = pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)


def built(model: type[Model], shape: tuple[int, int, int] = (1, 28, 28), classes: int = 10, **fields) -> nn.Module:
    with global_seed(0):
        return model(**fields).build(shape, classes)


@pytest.mark.parametrize(("model", "parameters"), ALL.items(), ids=lambda value: getattr(value, "__name__", value))
def test_parameter_counts(model, parameters):
    assert sum(parameter.numel() for parameter in built(model).parameters()) == parameters


@every
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 20)])
def test_networks_give_finite_logits_for_other_shapes_and_numbers_of_classes(model, shape):
    logits = built(model, shape, 7).eval()(torch.rand(3, *shape))
    assert logits.shape == (3, 7)
    assert logits.isfinite().all()
    assert not torch.allclose(logits.sum(1), torch.ones(3))  # logits, not probabilities


@every
def test_no_module_is_used_twice_or_in_place_and_no_input_is_changed(model):
    network = built(model).eval()
    calls: dict[nn.Module, int] = {}

    def count(module, inputs, output):
        calls[module] = calls.get(module, 0) + 1

    for module in network.modules():
        module.register_forward_hook(count)
    images = torch.rand(2, 1, 28, 28)
    before = images.clone()
    network(images)
    assert torch.equal(images, before)
    assert set(calls.values()) == {1}
    assert set(calls) == set(network.modules())
    assert not any(getattr(module, "inplace", False) for module in network.modules())


@every
def test_every_nonlinearity_is_a_module(model):
    """What functional calls would do, the modules must not need: between modules the graph holds nothing but additions."""
    kinds = {type(node).__name__ for node in graph(built(model).eval()(torch.rand(2, 1, 28, 28)))}
    activations = sum(isinstance(module, nn.ReLU) for module in built(model).modules())
    relus = [node for node in graph(built(model).eval()(torch.rand(2, 1, 28, 28))) if "Relu" in type(node).__name__]
    assert len(relus) == activations
    assert not {kind for kind in kinds if any(word in kind for word in ("Tanh", "Sigmoid", "Softmax", "Clamp"))}


def graph(output: torch.Tensor) -> set:
    found, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [following for following, _ in node.next_functions]
    return found


@every
def test_built_networks_train_with_dropout_at_work(model):
    network = built(model)
    assert all(module.training for module in network.modules())
    rates = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    assert rates == DROPOUT.get(model, [])
    seen = []
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda module, inputs, output: seen.append(((output == 0) & (inputs[0] != 0)).any().item()))
    network(torch.rand(8, 1, 28, 28))
    assert seen == [True] * len(rates)


@pytest.mark.parametrize(
    ("model", "fields", "rates"),
    [
        (Conv32Conv64Dense32, {"dropout": 0.7}, [0.7, 0.7, 0.7]),
        (Conv10Conv20Dense50, {"dropout": 0.7}, [0.7, 0.7]),
        (Conv64Conv32Dense256, {"convolution_dropout": 0.1, "dense_dropout": 0.9}, [0.1, 0.1, 0.9]),
        (Conv32Conv64Dense128, {"convolution_dropout": 0.1, "dense_dropout": 0.9}, [0.1, 0.9]),
    ],
)
def test_dropout_rates_are_fields(model, fields, rates):
    assert [module.p for module in built(model, **fields).modules() if isinstance(module, nn.Dropout)] == rates


@pytest.mark.parametrize("model", KERAS, ids=lambda model: model.__name__)
def test_keras_networks_start_from_glorot_uniform_weights_and_zero_biases(model):
    for module in built(model).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            field = math.prod(module.weight.shape[2:])
            bound = math.sqrt(6 / (field * (module.weight.shape[0] + module.weight.shape[1])))
            largest = module.weight.abs().max().item()
            assert 0.97 * bound < largest <= bound * (1 + 1e-6)
            assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
            assert not module.bias.any()


def test_the_other_networks_keep_torchs_own_initialization():
    network = built(Conv10Conv20Dense50)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert all(module.bias.any() for module in layers)
    assert all(module.weight.abs().max() <= 1 / math.sqrt(math.prod(module.weight.shape[1:])) + 1e-6 for module in layers)


@every
def test_the_same_seed_gives_the_same_network_and_another_another(model):
    first = built(model).state_dict()
    assert all(torch.equal(value, first[name]) for name, value in built(model).state_dict().items())
    with global_seed(1):
        other = model().build((1, 28, 28), 10).state_dict()
    assert any(not torch.equal(value, first[name]) for name, value in other.items())


@every
def test_images_that_are_too_small_are_refused_with_the_reason_and_the_smallest_others_work(model):
    least = LEAST[model]
    assert model().unsupported((1, 28, 28), 10) is None
    assert model().unsupported((1, least, least), 10) is None
    assert built(model, (1, least, least)).eval()(torch.rand(2, 1, least, least)).shape == (2, 10)
    for shape in ((1, least - 1, 28), (1, 28, least - 1)) if least > 1 else ():
        reason = f"images of {shape[1]}x{shape[2]} pixels: expected at least {least}x{least}"
        assert model().unsupported(shape, 10) == reason


@pytest.mark.parametrize("model", [model for model in ALL if LEAST[model] > 4], ids=lambda model: model.__name__)
def test_smaller_images_would_not_work(model):
    """The stated limit is the real one: one pixel less and the network cannot be built."""
    size = LEAST[model] - 1
    with pytest.raises((RuntimeError, ZeroDivisionError, ValueError)):
        built(model, (1, size, size)).eval()(torch.rand(2, 1, size, size))


def test_study_networks_do_not_take_digits_where_they_are_too_large():
    assert [model.__name__ for model in STUDIES if model().unsupported((1, 8, 8), 10)] == ["Conv32Conv64Dense32", "Conv10Conv20Dense50"]


def test_widths_and_blocks_are_fields():
    assert [module.out_features for module in built(Mlp, hidden=(5, 3)).modules() if isinstance(module, nn.Linear)] == [5, 3, 10]
    assert [module.out_features for module in built(Mlp, hidden=()).modules() if isinstance(module, nn.Linear)] == [10]
    assert sum(isinstance(module, nn.Conv2d) for module in built(Resnet, blocks=2).modules()) == 1 + 6 * 2 + 2
    assert built(Resnet, width=4)[-1].in_features == 16
    with pytest.raises(ConfigurationError, match=r"Mlp\.hidden"):
        Mlp(hidden=(0,))


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        (Conv32Conv64Dense64, ("adam", 1e-3, 5, 32, "last")),
        (Conv32Conv64Dense128, ("adadelta", 1.0, 12, 128, "last")),
    ],
)
def test_recipes_of_the_sources(model, recipe):
    found = model.recipe
    assert (found.optimizer, found.learning_rate, found.epochs, found.batch_size, found.keep) == recipe
