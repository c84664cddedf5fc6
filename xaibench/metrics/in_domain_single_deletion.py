"""The in-domain single deletion score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import explaining, maps, perturb
from xaibench.alterations import RemoveSquare
from xaibench.component import PositiveInt
from xaibench.maps import Pooling
from xaibench.metrics import reexplanation
from xaibench.metrics.correlations import pearson, spearman
from xaibench.metrics.helper_metric import HelperMetric
from xaibench.perturb import Read
from xaibench.problem import Attributions, Explainer, Explanation, Passes, Problem, Training
from xaibench.scoring import Requires, Scores
from xaibench.seeding import Rng
from xaibench.superpixels import Squares

WITHOUT_SQUARE = 0.5
"""Share of the training images that lose a square."""


@dataclass(frozen=True)
class InDomainSingleDeletion(HelperMetric):
    """Rank correlation between the relevance of an image's squares and what the classifier loses without each of them alone.

    The classifier is fine-tuned with images of which half lost one square of a grid, drawn at random, so that such images are no news to
    it. What is explained is the fine-tuned classifier, by the same explainer with the same draws: the score is that of the explainer on it,
    not of the given maps. The relevance of a square is the sum over its pixels. A square whose removal changes no pixel loses exactly 0.

    Parameters
    ----------
    side
        Squares along each side of the grid.
    pooling
        How a pixel's channels become one number.
    output
        What is read of the target.
    removal, train_images
        See `HelperMetric`.
    epochs
        Epochs of fine-tuning; null: as many as the classifier's training.

    Returns
    -------
    Scores
        Both (B, T), over the squares, in [-1, 1]; higher is better. `value`: Spearman's correlation (ties share their mean rank).
        `pearson`: Pearson's. NaN where all squares are equally relevant or lose the same, or where an attribution, given or new, or an
        output is NaN.

    Raises
    ------
    ValueError
        If the maps came from outside, and nothing else can be explained in the same way.

    References
    ----------
    Hesse, Schaub-Meyer and Roth, Benchmarking the attribution quality of vision models, NeurIPS 2024 (arXiv:2407.11910), section 3.
    Differs: the square that a training image loses is drawn once, not anew for each epoch.
    """

    higher_is_better: ClassVar[bool | None] = True
    paper: ClassVar[str] = "Hesse et al., 2024 (arXiv:2407.11910)"
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL, Requires.EXPLAINER, Requires.TRAINING})

    epochs: PositiveInt | None = 10
    side: PositiveInt = 4
    pooling: Pooling = "sum"
    output: Read = "logit"

    def needs(self, training: Training, explainer: Explainer) -> Mapping[str, Training]:
        """One fine-tuned classifier, for all explainers."""
        alteration = RemoveSquare(images=self.train_images, side=self.side, share=WITHOUT_SQUARE, removal=self.removal)
        return {"fine_tuned": self.helper(training, alteration, fine_tune=True)}

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """The explainer's, and one forward pass for each image, and for each of its squares and draws of the removal."""
        squares = int(Squares(self.side)(problem.images).max()) + 1
        ours = Passes(len(problem.images) * (1 + squares * self.removal.draws(problem)))
        return explaining.declared_passes(explainer, problem) + ours

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        maps.check_shapes(problem, explanation)
        problem = reexplanation.with_model(problem, problem.helpers["fine_tuned"])
        region = Squares(self.side)(problem.images)
        again = Attributions(reexplanation.explained(problem, explanation))
        pixels = maps.pool(problem, again, self.pooling).flatten(2)
        lost = self._lost(problem, region[:, None], rng)
        # added one by one: squares of equal pixels are equal, to the bit
        relevance = pixels.new_zeros(lost.shape).index_add_(2, region.flatten(), pixels)
        found, undefined = (
            {"value": spearman(relevance, lost), "pearson": pearson(relevance, lost)},
            explanation.values.flatten(2).isnan().any(2),
        )
        return Scores({name: value.to(torch.float32).masked_fill(undefined, torch.nan) for name, value in found.items()})

    def _lost(self, problem: Problem, region: Tensor, rng: Rng) -> Tensor:
        """(B, T, squares): the output of the whole image less that without the square."""
        squares, draws = int(region.max()) + 1, self.removal.draws(problem)
        remove = self.removal.prepared(problem, rng)
        changed = torch.zeros(len(problem.images), squares, dtype=torch.bool, device=problem.images.device)

        def alter(rows: Tensor, samples: Tensor) -> Tensor:
            square = samples // draws
            images = remove(rows, region != square.reshape(-1, 1, 1, 1), samples % draws)
            differs = (images != problem.images.index_select(0, rows)).flatten(1).any(dim=1)
            changed[rows[differs], square[differs]] = True
            return images

        whole = perturb.values(problem, 1, lambda rows, _: problem.images.index_select(0, rows), self.output)
        lost = whole - perturb.values(problem, squares, alter, self.output, draws)
        # where nothing changed, only rounding differs between batches, and ranks must not depend on it
        return torch.where(changed[:, None] | lost.isnan(), lost, 0.0)
