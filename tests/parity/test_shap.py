"""Our adapter of shap gives what direct calls of shap give."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench.adapters import shap as shap_adapter
from xaibench.explainers.deep_shap import DeepShap
from xaibench.explainers.expected_gradients import ExpectedGradients
from xaibench.explainers.kernel_shap import KernelShap
from xaibench.problem import Problem
from xaibench.seeding import Rng, global_seed

# shap's plots, imported with it, call functions that matplotlib 3.11 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:The set_(bad|over|under) function:PendingDeprecationWarning")

RNG = Rng(0, 0, "parity")


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 4))
    images, targets = torch.rand(3, 3, 8, 8), torch.tensor([[0, 3], [2, 1], [3, 2]])
    model.eval().requires_grad_(False)
    return Problem(model, images, targets, targets[:, 0], torch.tensor([5, 0, 9]), torch.rand(6, 3, 8, 8))


def chosen(values: np.ndarray, problem: Problem) -> Tensor:
    """(N, C, H, W, K) to the (N, T, C, H, W) of the targets."""
    moved = torch.from_numpy(np.moveaxis(values, -1, 1)).float()
    return torch.stack([moved[row, target] for row, target in enumerate(problem.targets)])


@pytest.mark.parametrize("chunk", [4, 256])
def test_deep_shap(problem, chunk):
    import shap

    with torch.enable_grad():
        values = shap.DeepExplainer(problem.model, problem.background).shap_values(problem.images)
    part = Problem(problem.model, problem.images, problem.targets, problem.labels, problem.index, problem.background, chunk=chunk)
    assert_close(DeepShap()(part, RNG).values, chosen(values, problem), rtol=1e-5, atol=1e-6)


def test_expected_gradients(problem):
    import shap

    seeds = RNG.each(problem.index).integers(2**32).tolist()
    with global_seed(0):
        explainer = shap.GradientExplainer(problem.model, problem.background)
        values = [explainer.shap_values(problem.images[row, None], nsamples=30, rseed=seed) for row, seed in enumerate(seeds)]
    assert_close(ExpectedGradients(samples=30)(problem, RNG).values, chosen(np.concatenate(values), problem), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("patch", "samples", "coalitions"), [(4, 7, 14), (3, 100, 100)])
def test_kernel_shap(problem, patch, samples, coalitions):
    """Superpixels as single features, against pixels as features in groups of shap's own."""
    import shap
    from shap.utils._legacy import DenseData

    position = np.arange(8) // patch
    grid = position[:, None] * (position[-1] + 1) + position
    groups = [np.flatnonzero(np.tile(grid.ravel() == number, 3)) for number in range(grid.max() + 1)]
    background = DenseData(np.zeros((1, 192)), [str(number) for number in range(len(groups))], groups)
    seeds = RNG.each(problem.index).integers(2**32).tolist()

    def predict(rows: np.ndarray) -> np.ndarray:
        return problem.model(torch.from_numpy(rows).float().reshape(-1, 3, 8, 8)).double().numpy()

    found = KernelShap(patch=patch, samples=samples)(problem, RNG).values
    for row, seed in enumerate(seeds):
        with global_seed(seed):
            explainer = shap.KernelExplainer(predict, background)
            pixels = problem.images[row].reshape(1, -1).numpy()
            values = explainer.shap_values(pixels, nsamples=coalitions, l1_reg=False, silent=True)[0]
        shares = values[:, problem.targets[row].numpy()].T / np.bincount(grid.ravel())
        assert_close(found[row, :, 0], torch.from_numpy(shares[:, grid]).float(), rtol=1e-4, atol=1e-6)


def test_the_written_list_of_rules_is_shaps_own():
    from shap.explainers._deep.deep_pytorch import op_handler

    nonlinear = {name for name, rule in op_handler.items() if rule.__name__ in ("nonlinear_1d", "maxpool")}
    assert nonlinear == shap_adapter.RULES
