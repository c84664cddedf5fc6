"""Anchors for images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import annotated_types
import torch
from torch import Tensor

from xaibench import perturb
from xaibench.adapters import alibi
from xaibench.component import PositiveInt
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng
from xaibench.superpixels import Squares, Superpixels

Inside = Annotated[float, annotated_types.Gt(0), annotated_types.Lt(1)]


@dataclass(frozen=True)
class Anchors(Explainer):
    """Whether a pixel belongs to the image's anchor: superpixels that alone almost always lead to the prediction, whatever the others show.

    alibi's AnchorImage, image by image, seeded by the image's position in the test set. Absent superpixels are taken from a random
    background image. An anchor is a rule for the predicted class: other targets have none, and their maps are 0 throughout. A prediction
    that hardly depends on the image has an empty anchor, if `batch_size` samples can tell; where no anchor reaches `threshold`, the best
    one found is taken.

    Parameters
    ----------
    output
        Without effect: only predicted classes are compared.
    superpixels
        How images are divided.
    threshold
        Precision that an anchor must have: the share of samples with its superpixels that are predicted as the image is.
    delta
        Probability with which a bound on a precision may fail.
    tau
        Tolerance between the best candidate and the one that is taken.
    p_sample
        Probability with which a superpixel outside the anchor is absent.
    beam_size
        Candidates that are extended.
    batch_size
        Samples at a time.
    budget
        Forward passes for each image, at most. An anchor that takes more is not found.

    Returns
    -------
    Attributions
        (B, T, 1, H, W): 1 in the anchor, 0 outside, for targets that the classifier predicts; NaN where the `budget` is spent; 0 for
        other targets. No completeness.

    References
    ----------
    Ribeiro, Singh and Guestrin, Anchors: high-precision model-agnostic explanations, AAAI 2018, sections 2 and 3 (no arXiv number).
    Differs: squares, where alibi has SLIC; a budget.
    """

    family: ClassVar = Family.PERTURBATION
    paper: ClassVar = "Ribeiro et al., 2018 (AAAI)"
    claims: ClassVar = frozenset({"implementation invariance"})
    exact_passes: ClassVar = False

    superpixels: Superpixels = Squares(side=4)
    threshold: Inside = 0.95
    delta: Inside = 0.1
    tau: Inside = 0.15
    p_sample: Inside = 0.5
    beam_size: PositiveInt = 1
    batch_size: PositiveInt = 100
    budget: Annotated[int, annotated_types.Ge(2)] = 50_000

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None."""
        empty = None if len(problem.background) else "needs background images, and there are none"
        return super().unsupported(problem) or empty or alibi.missing()

    def passes(self, problem: Problem) -> Passes:
        """At most `budget` for each image; all targets share them. What the search takes depends on what it finds."""
        return Passes(forward=len(problem.images) * self.budget)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        regions = self.superpixels(problem.images).expand(len(problem.images), -1, -1)
        seeds = rng.each(problem.index).integers(2**32).tolist()
        maps = torch.stack([self._explain(problem, row, regions[row], seed) for row, seed in enumerate(seeds)])
        return Attributions(maps[:, :, None])

    def _explain(self, problem: Problem, row: int, regions: Tensor, seed: int) -> Tensor:
        """(T, H, W) of one image."""
        spent, predicted = 0, []

        def predict(images: Tensor) -> Tensor:
            nonlocal spent
            spent += len(images)
            if spent > self.budget:
                raise _SpentError
            found = perturb.logits(problem, len(images), lambda positions: images[positions]).argmax(1)
            predicted.append(found)
            return found

        mine = torch.zeros(regions.shape, device=regions.device)
        settings = {name: getattr(self, name) for name in ("threshold", "delta", "tau", "p_sample", "beam_size", "batch_size")}
        try:
            anchor = alibi.anchor(predict, problem.images[row], regions, problem.background, seed, **settings)
            mine = torch.isin(regions, torch.tensor(anchor, dtype=regions.dtype, device=regions.device)).to(torch.float32)
        except _SpentError:
            mine.fill_(torch.nan)
        # The second call was for the image itself.
        return torch.where((problem.targets[row] == predicted[1])[:, None, None], mine, 0.0)


class _SpentError(Exception):
    """The budget is spent."""
