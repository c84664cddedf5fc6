"""Consistency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.metrics.set_level import SetLevelMetric, predicted, share
from xaibench.problem import Explanation, Family, Problem
from xaibench.scoring import Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Consistency(SetLevelMetric):
    """Chance that another image with the same explanation is predicted to be of the same class.

    Two images have the same explanation if the same regions are the `top` ones by absolute relevance, with the same signs. Regions of
    equal relevance are taken row by row, for all images alike, so that equal maps are the same explanation. Explanations of an image's
    first target are compared with those of other images' first targets, and so on. An explanation that is the same for all images has the
    frequency of the class. Other fields: see `SetLevelMetric`.

    Parameters
    ----------
    top
        How many regions make an explanation. With more of them fewer images share one.

    Returns
    -------
    Scores
        `value`: (B, T), the share among all other images with the same explanation, in [0, 1]; higher is better. `others`: how many there
        are. NaN where there is no other, or the map holds a NaN or an infinite value; such a map is nobody's other.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Dasgupta, Frost and Moshkovitz, Framework for evaluating faithfulness of local explanations, ICML 2022 (arXiv:2202.00734): consistency,
    estimated with every other image. Differs: what is the same explanation, which the paper leaves to the method, is chosen here.
    """

    family: ClassVar[Family] = Family.ROBUSTNESS
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Dasgupta et al., 2022 (arXiv:2202.00734)"

    top: PositiveInt = 2

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        values = self.regional(problem, explanation)
        defined, same = values.isfinite().all(dim=2), self._explanations(values)
        classes = predicted(problem)[:, None].expand(same.shape)
        together = same * (classes.max() + 1) + classes
        others = torch.where(defined, _members(same, defined) - 1, 0)
        agreeing = torch.where(defined, _members(together, defined) - 1, 0)
        counted = torch.where(defined, others.to(torch.float32), torch.nan)
        return Scores({"value": share(agreeing, others), "others": counted})

    def _explanations(self, values: Tensor) -> Tensor:
        """(B, T), int64: equal numbers for equal explanations of the same target."""
        values = values.nan_to_num(0.0, 0.0, 0.0)
        highest = values.abs().sort(dim=2, descending=True, stable=True).indices[..., : self.top]
        signs = torch.zeros_like(values).scatter_(2, highest, values.sign().gather(2, highest))
        target = torch.arange(values.shape[1], device=values.device).expand(values.shape[:2])[..., None]
        rows = torch.cat([signs, target.to(signs)], dim=2).flatten(0, 1).to(torch.int32)
        return torch.unique(rows, dim=0, return_inverse=True)[1].view(values.shape[:2])


def _members(groups: Tensor, counted: Tensor) -> Tensor:
    """(B, T), int64: how many of those that are counted have the same number as each."""
    sizes = groups.new_zeros(int(groups.max()) + 1).index_add_(0, groups.flatten(), counted.flatten().to(torch.int64))
    return sizes[groups]
