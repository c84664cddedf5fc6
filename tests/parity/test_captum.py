"""Our explainers give what captum's give on the same network."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from xaibench import removal
from xaibench.baselines import Constant
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.occlusion import Occlusion
from xaibench.explainers.saliency import Saliency
from xaibench.problem import Problem
from xaibench.seeding import Rng

RNG = Rng(0, 0, "parity")


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(30, 4)),
    )
    targets = torch.tensor([[0], [3], [2]])
    return Problem(
        model.eval().requires_grad_(False), torch.rand(3, 3, 8, 10), targets, targets[:, 0], torch.arange(3), torch.zeros(1, 3, 8, 10)
    )


def agree(explainer, problem: Problem, expected: torch.Tensor) -> None:
    assert_close(explainer(problem, RNG).values[:, 0], expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("absolute", [True, False])
def test_saliency_and_gradient(problem, absolute):
    from captum.attr import Saliency as Reference

    expected = Reference(problem.model).attribute(problem.images.clone().requires_grad_(), problem.labels, abs=absolute)
    agree(Saliency() if absolute else Gradient(), problem, expected)


def test_input_x_gradient(problem):
    from captum.attr import InputXGradient as Reference

    agree(InputXGradient(), problem, Reference(problem.model).attribute(problem.images.clone().requires_grad_(), problem.labels))


@pytest.mark.parametrize(("quadrature", "method"), [("midpoint", "riemann_middle"), ("gauss_legendre", "gausslegendre")])
def test_integrated_gradients(problem, quadrature, method):
    from captum.attr import IntegratedGradients as Reference

    expected = Reference(problem.model).attribute(problem.images, 0.2, problem.labels, n_steps=20, method=method)
    agree(IntegratedGradients(steps=20, baseline=Constant(0.2), quadrature=quadrature), problem, expected.float())


def test_occlusion(problem):
    """Where the stride divides the image; elsewhere captum's last window is cut off, and ours ends at the edge."""
    from captum.attr import Occlusion as Reference

    expected = Reference(problem.model).attribute(problem.images, (3, 4, 4), (3, 2, 2), 0.3, problem.labels)
    # captum gives a window's drop to each channel, and we to the pixel.
    agree(Occlusion(patch=4, stride=2, removal=removal.Constant(0.3)), problem, expected[:, :1])


@pytest.mark.parametrize("layer", [None, "0", "4"])
def test_grad_cam(problem, layer):
    from captum.attr import LayerGradCam as Reference

    module = problem.model[3 if layer is None else int(layer)]
    coarse = Reference(problem.model, module).attribute(problem.images.clone().requires_grad_(), problem.labels, relu_attributions=True)
    agree(GradCam(layer=layer), problem, functional.interpolate(coarse, (8, 10), mode="bilinear", align_corners=False))
