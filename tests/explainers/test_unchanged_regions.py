"""Superpixels that a removal does not change contribute exactly nothing, also where passes of equal images differ in the last bits."""

import pytest
import torch
from torch import nn

from xaibench.explainers.exact_shapley import ExactShapley
from xaibench.explainers.owen_shapley import OwenShapley
from xaibench.explainers.superpixel_ablation import SuperpixelAblation
from xaibench.problem import Problem
from xaibench.seeding import Rng
from xaibench.superpixels import Squares


class Noisy(nn.Module):
    """Logits whose last bits depend on the place in the batch, as those of some processors do."""

    def forward(self, images):
        sums = images.flatten(1).sum(1) + 1e-6 * torch.arange(len(images), dtype=images.dtype, device=images.device)
        return torch.stack([sums, -sums], dim=1)


@pytest.mark.parametrize(
    "explainer", [SuperpixelAblation(superpixels=Squares(2)), OwenShapley(depth=3), ExactShapley(superpixels=Squares(2))], ids=repr
)
def test_what_is_not_changed_has_no_share(explainer):
    images = torch.zeros(3, 1, 4, 4)
    images[:, :, :2, :2] = torch.tensor([0.5, 0.25, 1.0])[:, None, None, None]
    targets = torch.zeros(3, 1, dtype=torch.int64)
    problem = Problem(Noisy(), images, targets, targets[:, 0], torch.arange(3), images, chunk=5)
    values = explainer(problem, Rng(0, 0, "test")).values
    assert (values[..., 2:, :] == 0).all()
    assert (values[..., :, 2:] == 0).all()
    assert (values[..., :2, :2] > 0).all()
