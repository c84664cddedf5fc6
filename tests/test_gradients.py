from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from xaibench.cost import measure
from xaibench.gradients import gradient, gradient_passes, summed_gradients
from xaibench.problem import Problem

OUTPUTS = ["logit", "probability", "log_probability"]


def problem(chunk: int = 7) -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(18, 4)).eval().requires_grad_(False)
    targets = torch.tensor([[0, 2, 3], [3, 3, 1], [1, 0, 2]])
    zeros = torch.zeros(3, dtype=torch.int64)
    return Problem(model, torch.rand(3, 2, 3, 4), targets, zeros, zeros, torch.zeros(1, 2, 3, 4), chunk=chunk)


def explained(found: Tensor, target: int, output: str) -> Tensor:
    functions = {"logit": lambda x: x, "probability": lambda x: x.softmax(0), "log_probability": lambda x: x.softmax(0).log()}
    return functions[output](found)[target]


def one_gradient(given: Problem, point: Tensor, target: int, output: str) -> Tensor:
    return torch.autograd.functional.jacobian(lambda x: explained(given.classifier(x[None])[0], target, output), point)


@pytest.mark.parametrize("output", OUTPUTS)
def test_gradient_is_the_jacobian_for_every_image_and_target(output):
    given = problem()
    expected = torch.stack(
        [torch.stack([one_gradient(given, given.images[b], t, output) for t in given.targets[b].tolist()]) for b in range(3)]
    )
    found = gradient(given, output)
    assert found.shape == (3, 3, 2, 3, 4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for other in set(OUTPUTS) - {output}:
        assert not torch.allclose(gradient(given, other), found, rtol=1e-3)


def shifts() -> Tensor:
    return torch.linspace(-0.3, 0.4, 5)


def weights() -> Tensor:
    return torch.rand(3, 5, 2, 3, 4, generator=torch.Generator().manual_seed(1))


def by_loops(given: Problem) -> Tensor:
    total = torch.zeros(3, 3, 2, 3, 4)
    for b in range(3):
        for t in range(3):
            for s in range(5):
                point = given.images[b] + shifts()[s] * (b + 1)
                total[b, t] += weights()[b, s] * one_gradient(given, point, given.targets[b, t].item(), "probability")
    return total


@pytest.mark.parametrize("chunk", [1, 4, 7, 9, 45, 1000])
def test_weighted_sums_over_samples_do_not_depend_on_the_chunk(chunk):
    given = problem(chunk)

    def sampler(row: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        assert len(row) == len(sample) <= chunk
        return given.images[row] + (shifts()[sample] * (row + 1))[:, None, None, None], weights()[row, sample]

    torch.testing.assert_close(summed_gradients(given, 5, sampler, "probability"), by_loops(given), rtol=1e-5, atol=1e-6)


def test_a_weight_may_be_a_number():
    given = problem()
    twice = summed_gradients(given, 2, lambda row, _: (given.images[row], 1.5), "logit")
    torch.testing.assert_close(twice, 3 * gradient(given, "logit"))


def test_passes_are_what_is_counted():
    given = problem()
    with measure(given.classifier) as spent:
        summed_gradients(given, 5, lambda row, _: (given.images[row], 1.0), "logit")
    assert spent.passes == gradient_passes(given, 5)
    assert (spent.passes.forward, spent.passes.backward) == (15, 45)


def test_model_and_inputs_are_left_alone_and_no_graph_is_kept():
    given = problem()
    model = given.classifier.requires_grad_(True)
    images, state = given.images.clone(), {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():  # it differentiates wherever it is called
        found = gradient(given, "logit")
    assert not found.requires_grad
    assert not given.images.requires_grad
    assert torch.equal(given.images, images)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert found.abs().sum() > 0


def test_without_a_model_there_is_no_gradient():
    with pytest.raises(ValueError, match=r"Problem\.model=None"):
        gradient(dataclasses.replace(problem(), model=None), "logit")
