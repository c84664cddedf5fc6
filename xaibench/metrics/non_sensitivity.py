"""Non-sensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.component import Fraction, NonNegativeFloat
from xaibench.maps import Pooling, pool_finite
from xaibench.perturb import GROUP_VALUES, Read
from xaibench.problem import Explainer, Explanation, Family, Passes, Problem
from xaibench.removal import Marginal, Removal
from xaibench.scoring import Metric, Requires, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class NonSensitivity(Metric):
    """Share of pixels that have relevance but no influence, or influence but no relevance.

    A pixel has influence if removing it alone changes the output, in the mean of the absolute changes over the versions of a removed pixel;
    relevance if it is not zero beside the largest of its map. Every pixel of every image is removed by itself, once for each version. Other
    pixels that do the same work can hide the influence of one.

    Parameters
    ----------
    removal
        What a removed pixel becomes: by default its values in background images. Under a constant, a pixel that has it anyway has no
        influence.
    pooling
        How a pixel's channels become one number, of which the absolute value is taken.
    zero
        A relevance of at most this share of the largest of its map counts as zero.
    change
        A mean change of at most so much, in units of the output, counts as none: it should be above the rounding of the classifier.
    output
        What is read of the target.

    Returns
    -------
    Scores
        `value`: (B, T), size of the symmetric difference of both sets / number of pixels, in [0, 1]; lower is better. It is the sum of
        `unfounded`: relevance without influence, and `missed`: influence without relevance. Where all is 0 in a map, all that has influence
        is missed. NaN where the map holds a NaN or an infinite value, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Nguyen and Martinez, On quantitative aspects of model interpretability, 2020 (arXiv:2007.07584): non-sensitivity. Differs: features are
    pixels; a share instead of a number; the absolute change as the loss; thresholds in place of exact zeros.
    """

    family: ClassVar[Family] = Family.AXIOMATIC
    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Nguyen and Martinez, 2020 (arXiv:2007.07584)"
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL})

    removal: Removal = Marginal(samples=5)
    pooling: Pooling = "sum"
    zero: Fraction = 1e-5
    change: NonNegativeFloat = 1e-4
    output: Read = "logit"

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs a model, and the background that the removal may need."""
        return super().unsupported(problem, explainer) or self.removal.unsupported(problem)

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """Forward, for each image, once and once for each pixel and version; all targets share them."""
        return Passes(len(problem.images) * (1 + problem.images[0, 0].numel() * self.removal.draws(problem)))

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        sizes = pool_finite(problem, explanation, self.pooling).abs().flatten(2)
        relevant = sizes > self.zero * sizes.amax(dim=2, keepdim=True)
        changes = self._changes(problem, rng)
        influential = changes > self.change
        found = {"unfounded": relevant & ~influential, "missed": ~relevant & influential}
        shares = {name: pixels.to(torch.float32).mean(dim=2) for name, pixels in found.items()}
        defined = (sizes.isfinite() & changes.isfinite()).all(dim=2)
        values = {"value": shares["unfounded"] + shares["missed"], **shares}
        return Scores({name: torch.where(defined, value, torch.nan) for name, value in values.items()})

    def _changes(self, problem: Problem, rng: Rng) -> Tensor:
        """(B, T, H W): mean absolute change of the output when a pixel is removed, for some images at a time."""
        pixels, versions = problem.images[0, 0].numel(), self.removal.draws(problem)
        remove, size = self.removal.prepared(problem, rng), problem.images.shape[-2:]
        whole = perturb.values(problem, 1, lambda rows, _: problem.images.index_select(0, rows), self.output)

        def alter(rows: Tensor, samples: Tensor) -> Tensor:
            kept = torch.ones(len(rows), pixels, dtype=torch.bool, device=rows.device)
            kept.scatter_(1, (samples // versions)[:, None], False)
            return remove(rows, kept.view(-1, 1, *size), samples % versions)

        at_once = max(1, GROUP_VALUES // (pixels * versions * problem.targets.shape[1]))
        found = []
        for rows in torch.arange(len(problem.images), device=problem.images.device).split(at_once):
            outputs = perturb.values(problem, pixels * versions, alter, self.output, rows=rows)
            found.append((outputs - whole[rows]).abs().unflatten(2, (pixels, versions)).mean(dim=3))
        return torch.cat(found)
