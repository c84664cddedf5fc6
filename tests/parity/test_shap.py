"""Our explainers give what direct calls of shap give."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench.baselines import TrainingSample
from xaibench.explainers.deep_shap import DeepShap
from xaibench.explainers.exact_shapley import ExactShapley
from xaibench.explainers.expected_gradients import ExpectedGradients
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.kernel_shap import KernelShap
from xaibench.problem import Problem
from xaibench.seeding import Rng, global_seed
from xaibench.superpixels import Squares

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
    """The same expectation as shap's, and at equal samples less than half its root-mean-square error."""
    import shap

    def explained(samples: int, draw: int) -> Tensor:
        return ExpectedGradients(samples=samples)(problem, Rng(0, draw, "parity")).values

    def shaps(samples: int, seed: int) -> Tensor:
        return chosen(explainer.shap_values(problem.images, nsamples=samples, rseed=seed), problem)

    def error(found: list[Tensor], reference: Tensor) -> float:
        return float(torch.stack([(one - reference).square().mean() for one in found]).mean().sqrt())

    # Every background image's line by quadrature: neither estimator has a part in the reference.
    reference = IntegratedGradients(steps=500, baseline=TrainingSample(99), quadrature="midpoint")(problem, RNG).values
    with global_seed(0):
        explainer = shap.GradientExplainer(problem.model, problem.background)
        theirs = error([shaps(30, seed) for seed in range(6)], reference)
        # Both tend to it: with 60 times the samples an eighth of the error is expected.
        assert error([shaps(1800, 6)], reference) < 0.25 * theirs
    assert error([explained(1800, 0)], reference) < 0.05 * theirs
    ours = error([explained(30, draw) for draw in range(8)], reference)
    assert ours < 0.5 * theirs
    assert error([-explained(30, 0)], reference) > theirs


def shaps_kernel(problem: Problem, side: int, samples: int, seed: int = 0) -> Tensor:
    """(N, T, 1, H, W): KernelExplainer with pixels as features, in groups of its own, against black."""
    import shap
    from shap.utils._legacy import DenseData

    grid = Squares(side)(problem.images)[0].numpy()
    groups = [np.flatnonzero(np.tile(grid.ravel() == number, 3)) for number in range(grid.max() + 1)]
    background = DenseData(np.zeros((1, 192)), [str(number) for number in range(len(groups))], groups)

    def predict(rows: np.ndarray) -> np.ndarray:
        return problem.model(torch.from_numpy(rows).float().reshape(-1, 3, 8, 8)).double().numpy()

    found = []
    with global_seed(seed):
        for image, targets in zip(problem.images, problem.targets, strict=True):
            explainer = shap.KernelExplainer(predict, background)
            values = explainer.shap_values(image.reshape(1, -1).numpy(), nsamples=samples, l1_reg=False, silent=True)[0]
            found.append((values[:, targets.numpy()].T / np.bincount(grid.ravel()))[:, None, grid])
    return torch.from_numpy(np.stack(found)).float()


@pytest.mark.parametrize("side", [2, 3])
def test_kernel_shap_with_all_coalitions(problem, side):
    problem.images[0, :, :4] = 0
    found = KernelShap(superpixels=Squares(side))(problem, RNG).values
    assert_close(found, shaps_kernel(problem, side, 2 ** (side * side) - 2), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("samples", "ratio"), [(64, 1.0), (128, 0.85), (512, 0.7)])
def test_kernel_shap_errs_less_than_shaps_at_equal_evaluations(problem, samples, ratio):
    """On images of noise, whose superpixels matter equally, where it gains least; `xaibench.shapley_error` has real ones."""
    exact = ExactShapley(superpixels=Squares(4))(problem, RNG).values

    def error(found: list[Tensor]) -> float:
        return float(torch.stack([(one - exact).square().mean() for one in found]).mean().sqrt())

    theirs = error([shaps_kernel(problem, 4, samples, seed) for seed in range(2)])
    ours = error([KernelShap(superpixels=Squares(4), samples=samples)(problem, Rng(0, draw, "parity")).values for draw in range(4)])
    assert ours < ratio * theirs
