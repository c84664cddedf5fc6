from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from xaibench import cost
from xaibench.cost import CACHE_BYTES, LARGEST_CHUNK, Cost, activation_bytes, chunk_size, measure
from xaibench.problem import Passes


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten())
    return nn.Sequential(inner, nn.Linear(2 * 2 * 2, 3)).eval().requires_grad_(False)


def images(count: int, grad: bool = False) -> torch.Tensor:
    return torch.rand(count, 1, 4, 4, requires_grad=grad)


def test_forward_images_are_counted_once_each_in_nested_modules_too(net):
    with measure(net) as spent:
        net(images(5))
        with torch.inference_mode():
            net(images(7))
        net[0](images(11))  # a part of the network is not a pass through it
        nn.Sequential(net, nn.Softmax(dim=1))(images(2))
    assert spent.passes == Passes(forward=14, backward=0)


def test_backward_images_are_counted_for_every_pass_back(net):
    with measure(net) as spent:
        inputs = images(5, grad=True)
        net(inputs).sum().backward()
        assert spent.passes == Passes(5, 5)
        found = net(inputs)
        for k in range(3):
            torch.autograd.grad(found[:, k].sum(), inputs, retain_graph=True)
        assert spent.passes == Passes(10, 20)
        (first,) = torch.autograd.grad((found.softmax(1) * found).sum(), inputs, create_graph=True)  # two ways back to one output
        assert spent.passes == Passes(10, 25)
        first.sum()
    assert spent.passes == Passes(10, 25)


def test_a_forward_pass_without_a_way_back_counts_none(net):
    with measure(net) as spent:
        net(images(4, grad=True))
    assert spent.passes == Passes(4, 0)


def test_copies_of_the_model_count_as_the_model(net):
    with measure(net) as spent:
        copy.deepcopy(net)(images(3))
    assert spent.forward == 3


def hooks(net: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._backward_hooks) + len(module._forward_pre_hooks) for module in net.modules())


def test_no_hook_is_left_and_nothing_is_counted_afterwards(net):
    with measure(net) as spent:
        inputs = images(2, grad=True)
        found = net(inputs)
    assert hooks(net) == 0
    found.sum().backward()
    net(images(3))
    assert spent.passes == Passes(2, 0)


def test_no_hook_is_left_after_an_error_and_the_count_is_kept(net):
    with pytest.raises(RuntimeError), measure(net) as spent:
        net(images(2))
        net(torch.rand(1, 9, 4, 4))
    assert hooks(net) == 0
    assert spent.forward == 2
    assert spent.seconds > 0


def test_measurements_nest(net):
    with measure(net) as outer:
        net(images(2))
        with measure(net) as inner:
            net(images(3))
        net(images(4))
    assert (outer.forward, inner.forward) == (9, 3)


def test_without_a_model_time_and_memory_are_taken(monkeypatch):
    ticks = iter([10.0, 12.5])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(ticks))
    with measure() as spent:
        block = torch.ones(2**24)  # 64 MiB
        del block
    assert spent.seconds == 2.5
    assert spent.passes == Passes()
    assert spent.peak_bytes is None or spent.peak_bytes > 2**26


def test_cost_starts_at_nothing():
    assert Cost() == Cost(0, 0, 0.0, None)


def test_activation_bytes_are_those_of_all_layers_outputs(net):
    # conv 2 x 2 x 2, ReLU 2 x 2 x 2, flatten 8, dense 3: 27 numbers of 4 bytes
    assert activation_bytes(net, (1, 4, 4)) == 27 * 4
    assert activation_bytes(net[1], (8,)) == 3 * 4  # a network of one layer
    assert activation_bytes(nn.Sequential(nn.Flatten(), nn.Linear(16, 5).eval()), (1, 4, 4)) == (16 + 5) * 4
    assert hooks(net) == 0


def test_activation_bytes_leave_no_hook_after_an_error(net):
    with pytest.raises(RuntimeError):
        activation_bytes(net, (9, 4, 4))
    assert hooks(net) == 0


class Wide(nn.Module):
    """One layer whose output takes so many bytes for each image."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.new_zeros(1).expand(len(inputs), self.size // 4)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_chunk_is_the_largest_power_of_two_that_fits_within_bounds(device, monkeypatch):
    budget, largest = CACHE_BYTES[device], LARGEST_CHUNK[device]
    for size in (4, 1000, 2**14, 2**15, 2**15 + 4, 100_000, 123_456, 2**20, 2**27, 2**33):
        monkeypatch.setattr(cost, "activation_bytes", lambda *args, size=size: size)
        expected = 8
        while expected * 2 <= largest and expected * 2 * size <= budget:
            expected *= 2
        assert chunk_size(nn.Identity(), (1,), device) == expected


def test_the_chunk_takes_the_activations_of_the_model():
    assert chunk_size(Wide(2**18), (1, 2, 2)) == 64  # 24 MiB / 256 KiB = 96
    assert chunk_size(Wide(2**18 * 3 // 2), (1, 2, 2)) == 64
    assert chunk_size(Wide(2**18 * 3 // 2 + 4), (1, 2, 2)) == 32
    assert chunk_size(Wide(2**30), (1, 2, 2)) == 8
    assert chunk_size(Wide(4), (1, 2, 2)) == 1024


def test_the_chunk_is_never_timed(net, monkeypatch):
    def forbidden() -> float:
        raise AssertionError("timed")

    for name in ("perf_counter", "time", "monotonic", "process_time"):
        monkeypatch.setattr(cost.time, name, forbidden)
    with pytest.raises(AssertionError, match="timed"), measure():
        pass
    assert chunk_size(net, (1, 4, 4)) == 1024
