"""LIME and superpixel ablation give what captum's give on the same network, and, for LIME, on the same coalitions."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench.explainers.lime import Lime
from xaibench.explainers.superpixel_ablation import SuperpixelAblation
from xaibench.problem import Problem
from xaibench.removal import Constant
from xaibench.seeding import Rng
from xaibench.superpixels import Slic, Squares, Superpixels

RNG = Rng(0, 0, "parity")

REGIONS = pytest.mark.parametrize("superpixels", [Squares(side=3), Slic(regions=6)], ids=repr)


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 4))
    targets = torch.tensor([[0, 1], [3, 2], [2, 0]])
    images = torch.rand(3, 3, 8, 10)
    return Problem(model.eval().requires_grad_(False), images, targets, targets[:, 0], torch.arange(3), torch.zeros(1, 3, 8, 10))


def cases(problem: Problem, superpixels: Superpixels) -> list[tuple[Tensor, Tensor, int, int, int]]:
    """Image, regions, target, and the places of these in the result."""
    regions = superpixels(problem.images).expand(3, -1, -1)
    places = itertools.product(range(3), range(2))
    return [(problem.images[row, None], regions[row, None, None], int(problem.targets[row, t]), row, t) for row, t in places]


@REGIONS
@pytest.mark.parametrize(("width", "ridge"), [(0.25, 1.0), (0.5, 0.1)])
def test_lime(problem, superpixels, width, ridge):
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime as Reference

    explainer = Lime(samples=80, superpixels=superpixels, width=width, ridge=ridge, removal=Constant(0.3))
    found = explainer(problem, RNG).values

    def similarity(_image: Tensor, _perturbed: Tensor, coalition: Tensor, **_: object) -> Tensor:
        # captum's own compares images; the authors' code, as ours, compares coalitions
        distance = 1 - torch.cosine_similarity(coalition.double(), torch.ones_like(coalition, dtype=torch.float64))
        return torch.exp(-(distance**2) / (2 * width**2))

    for image, regions, target, row, place in cases(problem, superpixels):
        present = torch.rand(80, int(regions.max()) + 1, generator=RNG.shared()) < 0.5
        present[0] = True
        coalitions = iter(present.long())
        reference = Reference(problem.model, SkLearnRidge(alpha=ridge), similarity, lambda *_, left=coalitions, **__: next(left)[None])
        expected = reference.attribute(image, 0.3, target, feature_mask=regions, n_samples=80)
        assert_close(found[row, place], expected[0, :1], rtol=1e-4, atol=1e-6)


@REGIONS
def test_superpixel_ablation(problem, superpixels):
    from captum.attr import FeatureAblation as Reference

    found = SuperpixelAblation(superpixels=superpixels, removal=Constant(0.3))(problem, RNG).values
    for image, regions, target, row, place in cases(problem, superpixels):
        expected = Reference(problem.model).attribute(image, 0.3, target, feature_mask=regions)
        assert_close(found[row, place], expected[0, :1], rtol=1e-5, atol=1e-6)
