"""Outputs of altered images, and their linear combinations, against loops over images, samples and draws."""

import dataclasses

import pytest
import torch
from perturb_cases import Pixels, make_problem
from torch import Tensor, nn

from xaibench import perturb
from xaibench.cost import measure
from xaibench.problem import Problem

OUTPUTS = {"logit": lambda z: z, "probability": lambda z: z.softmax(0), "log_probability": lambda z: z.log_softmax(0)}
SAMPLES, DRAWS = 5, 3


def problem(chunk: int = 7) -> Problem:
    """Three images, two targets each, a classifier that mixes pixels."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh()).eval().requires_grad_(False)
    targets = torch.tensor([[0, 5], [3, 1], [2, 2]])
    return dataclasses.replace(make_problem(chunk=chunk, model=model), targets=targets)


def alter(given: Problem):
    return lambda row, sample: given.images[row] * (0.3 + 0.1 * sample.reshape(-1, 1, 1, 1)) + 0.05 * row.reshape(-1, 1, 1, 1)


def by_loops(given: Problem, output: str, draws: int = 1) -> Tensor:
    found = torch.zeros(3, 2, SAMPLES)
    for row in range(3):
        for sample in range(SAMPLES):
            for draw in range(draws):
                image = given.images[row] * (0.3 + 0.1 * (sample * draws + draw)) + 0.05 * row
                outputs = OUTPUTS[output](given.classifier(image[None])[0])
                found[row, :, sample] += outputs[given.targets[row]] / draws
    return found


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("draws", [1, DRAWS])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_values_are_the_outputs_of_every_image_and_sample(output, draws, chunk):
    given = problem(chunk)
    found = perturb.values(given, SAMPLES, alter(given), output, draws)
    torch.testing.assert_close(found, by_loops(given, output, draws), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found, by_loops(given, output, draws).roll(1, 0), rtol=1e-3)
    assert not torch.allclose(found, by_loops(given, output, DRAWS + 1 - draws), rtol=1e-3)


def test_values_of_some_rows():
    given = problem()
    rows = torch.tensor([2, 0])
    found = perturb.values(given, SAMPLES, alter(given), "logit", rows=rows)
    torch.testing.assert_close(found, by_loops(given, "logit")[rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("held", [1, 2 * SAMPLES * DRAWS, 10**6])
def test_combinations_are_values_times_weights_however_few_are_held(monkeypatch, held):
    given = problem()
    weights = torch.rand(SAMPLES, 4, dtype=torch.float64)
    monkeypatch.setattr(perturb, "GROUP_VALUES", held)
    with measure(given.classifier) as counted:
        found = perturb.combined(given, SAMPLES, alter(given), weights, "probability", DRAWS)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, by_loops(given, "probability", DRAWS).double() @ weights, rtol=1e-5, atol=1e-6)
    assert counted.passes.forward == 3 * SAMPLES * DRAWS
    assert counted.passes.backward == 0


def test_chunks_are_full():
    given = make_problem(chunk=4, model=Pixels())
    perturb.values(given, SAMPLES, lambda row, sample: given.images[row], "logit")
    assert given.classifier.sizes == [4, 4, 4, 3]
