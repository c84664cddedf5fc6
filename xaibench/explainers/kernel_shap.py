"""Kernel SHAP on superpixels."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.explainers import coalitions
from xaibench.explainers.coalitions import Design, Group
from xaibench.explainers.exact_shapley import all_coalitions
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.removal import Constant, Removal
from xaibench.seeding import Rng
from xaibench.superpixels import Squares, Superpixels

DISTANCE = 3.5
"""Length of the Gaussian process: minus the logarithm of the correlation between the empty and the full coalition."""

TREND = 30.0
"""Variance of the linear part, about ten times the process's, where the coalitions are too few to fit it freely."""

FALL = {True: 0.5, False: 1.5}
"""Power with which what is expected of the superpixels falls to 0 with their number, if the removal changes them evenly or not."""

FEW = 1.5
"""Pairs of coalitions for each superpixel below which some of them are nested."""

JITTER = 1e-9
NODES = 32
LARGEST_SYSTEM = 2048
"""Pairs of coalitions in one system of equations."""


@dataclass(frozen=True)
class KernelShap(Explainer):
    """Each pixel's equal share of its superpixel's Shapley value, estimated by regression from sampled coalitions.

    Coalitions are drawn once for all images, with their complements. To their outputs a linear function plus a Gaussian process is fitted,
    and its Shapley values are the estimate, which is linear in the outputs: one matrix serves all images and classes with equally many
    superpixels. Superpixels that the removal does not change get 0 without being evaluated; the others are numbered by how much it
    changes them, as those that change more are expected to matter and to interact more.

    Parameters
    ----------
    samples
        Coalitions for each image, the empty and the full one apart, rounded down to an even number. Where there are no more than that of
        the superpixels that change, all are taken, and the values are exact. Above 4,096 estimates from blocks of them are averaged.
    superpixels
        What is present or absent as a whole.
    removal
        What an absent superpixel becomes. Over several draws of it outputs are averaged.
    fit
        What is fitted to the outputs: the paper's `linear` function, by weighted least squares with the Shapley kernel, or that and a
        `gaussian_process`, whose error is smaller.

    Returns
    -------
    Attributions
        `values`: (B, T, 1, H, W), output units, signed. `total`: (B, T), output with all superpixels minus output with none, which the
        values sum to by construction.

    References
    ----------
    Lundberg and Lee, A unified approach to interpreting model predictions, NIPS 2017 (arXiv:1705.07874), theorem 2: there the regression is
    linear and its weights are the Shapley kernel, which `fit="linear"` does. Differs: sizes of coalitions are uniform, with complements
    and without replacement, as in Musco and Witter, Provably accurate Shapley value estimation via leverage score sampling, 2024
    (arXiv:2410.01917), section 3; and by default a Gaussian process takes up the interactions that the linear function leaves (Bayesian
    quadrature). With two pairs for each superpixel on, linear games are explained exactly.
    """

    family: ClassVar = Family.SHAPLEY
    paper: ClassVar = "Lundberg and Lee, 2017 (arXiv:1705.07874)"
    claims: ClassVar = frozenset({"completeness", "implementation invariance", "linearity", "sensitivity"})

    samples: PositiveInt = 2048
    superpixels: Superpixels = Squares()
    removal: Removal = Constant()
    fit: Literal["gaussian_process", "linear"] = "gaussian_process"

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        if self.samples < 2:
            return f"samples={self.samples}: a coalition and its complement are needed"
        if self.fit == "linear":
            most = int(self.superpixels(problem.images).max()) + 1
            if self.samples < min(4 * most, 2**most - 2):
                return f"samples={self.samples}: a linear fit to {most} superpixels needs {4 * most} at least"
        return super().unsupported(problem) or coalitions.unsupported(problem, self.removal)

    def passes(self, problem: Problem) -> Passes:
        """For each image the sampled coalitions, the empty and the full one, forward; all targets share them."""
        parts = coalitions.players(problem, self.superpixels, self.removal)
        return coalitions.group_passes(parts, self.removal, lambda count: 2 + 2 * min(self.samples // 2, 2 ** (count - 1) - 1))

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""

        def make(part: Group) -> Design:
            count, pairs = part.count, self.samples // 2
            if pairs >= 2 ** (count - 1) - 1:
                return all_coalitions(count)
            if self.fit == "linear":
                present = draw_pairs(count, pairs, rng.shared())
                return paired([present], [linear_regression(present)])
            return sampled_coalitions(count, pairs, rng.shared(), part.even)

        return coalitions.explain(coalitions.players(problem, self.superpixels, self.removal), self.removal, make, self.output)


def sampled_coalitions(count: int, pairs: int, generator: torch.Generator, even: bool) -> Design:
    """Pairs of a coalition and its complement, and the weights of the regression."""
    blocks = -(-pairs // LARGEST_SYSTEM)
    sizes = [pairs * (block + 1) // blocks - pairs * block // blocks for block in range(blocks)]
    drawn = [draw_pairs(count, size, generator) for size in sizes]
    return paired(drawn, [regression(present, even) / blocks for present in drawn])


def paired(drawn: list[Tensor], weights: list[Tensor]) -> Design:
    """The design of coalitions (n, M) and their complements from weights (1 + n, M) of odd parts, the full coalition's first."""
    full = torch.stack([weight[0] for weight in weights]).sum(0) / 2
    rest = [torch.cat([weight[1:], -weight[1:]]) / 2 for weight in weights]
    nobody = torch.zeros(1, drawn[0].shape[1], dtype=torch.bool)
    every = [nobody, ~nobody, *(torch.cat([present, ~present]) for present in drawn)]
    return Design(torch.cat(every), torch.cat([torch.stack([-full, full]), *rest]))


def draw_pairs(count: int, pairs: int, generator: torch.Generator) -> Tensor:
    """(pairs, M): distinct coalitions, none the complement of another.

    Sizes up to M / 2 are drawn equally often. Where there are few pairs the first M - 1 are nested, each with one superpixel more, which
    lets no superpixel go without an estimate.
    """
    found = torch.zeros(0, count, dtype=torch.bool)
    few = pairs < FEW * count
    if few:
        place = torch.randperm(count, generator=generator)
        found = place < torch.randperm(count - 1, generator=generator)[:pairs, None] + 1
        found = found ^ _other_half(found)
    sizes = torch.arange(1, count // 2 + 1)
    every = [math.comb(count, size) // (2 if 2 * size == count else 1) for size in sizes.tolist()]
    numbers = _shares([0.5 if 2 * size == count else 1.0 for size in sizes.tolist()], every, pairs - len(found), generator)
    many = [total <= 4 * number and not few for total, number in zip(every, numbers, strict=True)]
    for size, total, number in [
        case for case, listed in zip(zip(sizes.tolist(), every, numbers, strict=True), many, strict=True) if listed
    ]:
        members = torch.tensor(list(itertools.islice(itertools.combinations(range(count), size), total)))
        chosen = members[torch.randperm(total, generator=generator)[:number]]
        found = torch.cat([found, torch.zeros(number, count, dtype=torch.bool).scatter_(1, chosen, True)])
    drawn = torch.tensor([0 if listed else number for number, listed in zip(numbers, many, strict=True)])
    return _with_distinct(found, sizes.repeat_interleave(drawn), generator)


def _shares(weights: list[float], most: list[int], total: int, generator: torch.Generator) -> list[int]:
    """Whole numbers with this total, at most `most` each, otherwise in expectation proportional to the weights."""
    expected, free, left = [0.0] * len(most), set(range(len(most))), float(total)
    while free:
        scale = left / sum(weights[k] for k in free)
        full = {k for k in free if scale * weights[k] >= most[k]}
        for k in full or free:
            expected[k] = most[k] if full else scale * weights[k]
        left -= sum(expected[k] for k in full)
        free = free - full if full else set()
    start = float(torch.rand((), generator=generator, dtype=torch.float64))
    edges = np.floor(np.cumsum([start, *expected]))
    edges[-1] = total
    return np.diff(edges).astype(int).tolist()


def _with_distinct(found: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """What was found, and a random coalition of each size: those that repeat another, or complement it, are drawn again."""
    number, count = len(found) + len(sizes), found.shape[1]
    sizes = torch.cat([found.sum(1), sizes])
    again = torch.arange(len(found), number)
    # a coalition's random sum tells it apart, as surely as 64 bits do, and sorts fast
    names = torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator)
    found = torch.cat([found, torch.zeros(len(again), count, dtype=torch.bool)])
    while len(again):
        place = torch.rand(len(again), count, generator=generator).argsort(dim=1)
        drawn = place < sizes[again, None]
        found[again] = drawn ^ _other_half(drawn)
        _, label = (found * names).sum(1).unique(return_inverse=True)
        first = torch.full((number,), number).scatter_reduce_(0, label, torch.arange(number), "amin")
        again = (first[label] != torch.arange(number)).nonzero()[:, 0]
    return found


def _other_half(present: Tensor) -> Tensor:
    """(n, 1): whether the complement stands for a pair: the smaller one, of two halves the one with the first superpixel."""
    size, count = present.sum(1, keepdim=True), present.shape[1]
    return (2 * size > count) | ((2 * size == count) & ~present[:, :1])


def linear_regression(present: Tensor) -> Tensor:
    """(1 + n, M): the Shapley values of the fitted linear function, as weights of odd parts, output minus that of the complement, halved.

    Weighted least squares under the constraint that the values sum to the full coalition's output minus the empty one's. A coalition
    weighs as much as its size does in the Shapley kernel, shared by those of its size and the complementary one that are there.
    """
    count, sizes = present.shape[1], present.sum(1)
    signs = torch.where(present, 1.0, -1.0).to(torch.float64)
    kind = torch.minimum(sizes, count - sizes)
    kernel = 1 / (kind * (count - kind)).double() / kind.bincount(minlength=1)[kind]
    kernel *= torch.where(2 * kind == count, 0.5, 1.0)  # this size is its own complement
    solved = torch.linalg.solve(signs.T @ (kernel[:, None] * signs), torch.cat([signs.T * kernel, torch.ones(count, 1).double()], dim=1))
    share = solved[:, -1] / solved[:, -1].sum()
    return 2 * torch.cat([share[None], (solved[:, :-1] - share[:, None] * solved[:, :-1].sum(0)).T])


def regression(present: Tensor, even: bool) -> Tensor:
    """(1 + n, M): the Shapley values of the fitted function, as weights of odd parts, output minus that of the complement, halved.

    Row 0 belongs to the full coalition, the others to `present` (n, M). Shapley values depend on the odd part alone. With signs x, the
    prior of the odd part is x b + g: independent b, and g with the odd part of the covariance exp(-distance), a hyperbolic sine.
    Superpixels in which two coalitions differ add to the distance; how much, and how large b is expected to be, falls with their number,
    steeply unless `even`.
    """
    count = present.shape[1]
    present = torch.cat([torch.ones(1, count, dtype=torch.bool), present])
    signs = torch.where(present, 1.0, -1.0).to(torch.float64)
    falling = (count - torch.arange(count, dtype=torch.float64) - 0.5) ** FALL[even]
    share = falling / falling.sum()
    covariance = (signs * (DISTANCE / 2 * share) @ signs.T).sinh_()
    covariance.diagonal().add_(JITTER)
    values = _shapley(signs, torch.exp(-DISTANCE * share))
    process, trend = torch.linalg.solve(covariance, torch.cat([values, signs], dim=1)).split(count, dim=1)
    normal = signs.T @ trend
    if len(present) <= 2 * count:
        normal.diagonal().add_(1 / (TREND * share))
    return process + trend @ torch.linalg.solve(normal, 2 * torch.eye(count, dtype=torch.float64) - signs.T @ process)


def _shapley(signs: Tensor, correlation: Tensor) -> Tensor:
    """(n, M): the Shapley values of the process's odd covariance with each coalition.

    The covariance is a product over superpixels, so its mean over coalitions that hold each superpixel with probability p is one too; the
    Shapley value is the integral over p of that mean's derivative (Owen 1972), a polynomial, by Gauss and Legendre.
    """
    nodes, weights = (torch.from_numpy(part) / 2 for part in np.polynomial.legendre.leggauss(NODES))
    inside = (nodes + 0.5)[:, None] * (1 - correlation) + correlation
    outside = 1 - (nodes + 0.5)[:, None] * (1 - correlation)
    total = torch.zeros_like(signs)
    for sign in (1.0, -1.0):
        member = (sign * signs > 0).to(torch.float64)
        mean = torch.exp(inside.log() @ member.T + outside.log() @ (1 - member).T) * weights[:, None]
        # divided by 2 exp(-DISTANCE / 2), as the hyperbolic sine is
        total += (
            sign
            * math.exp(DISTANCE / 2)
            / 2
            * (1 - correlation)
            * (member * (mean.T @ (1 / inside)) - (1 - member) * (mean.T @ (1 / outside)))
        )
    return total
