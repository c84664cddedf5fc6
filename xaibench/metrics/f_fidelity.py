"""F-Fidelity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import annotated_types
import torch
from torch import Tensor
from torch.nn.functional import pad

from xaibench import curves, perturb
from xaibench.alterations import RemoveAtRandom
from xaibench.component import PositiveInt
from xaibench.curves import Ranking, Ties
from xaibench.maps import Pooling
from xaibench.metrics.helper_metric import HelperMetric
from xaibench.perturb import Read
from xaibench.problem import Explainer, Explanation, Passes, Problem, Training
from xaibench.scoring import Requires, Scores
from xaibench.seeding import Rng
from xaibench.superpixels import Pixels

Share = Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)]


@dataclass(frozen=True)
class FFidelity(HelperMetric):
    """How much more a fine-tuned classifier loses with some of the most relevant pixels than with some of the others.

    The classifier is fine-tuned with images that each lost a share `beta` of their pixels, drawn at random, so that such images are
    no news to it, and no explanation is involved. Then, for explanations of s of an image's d pixels, FFid+ is what it loses of the
    output when each of the s most relevant pixels is removed with the probability min(`alpha`, `beta` d / s), and FFid- what it loses
    when each of the d - s others is, with min(`alpha`, `beta` d / (d - s)): means over `samples` draws. No more than the share `beta` of
    an image is removed on the average.

    Parameters
    ----------
    alpha
        Largest share of an explanation, or of the rest, that is removed.
    beta
        Share of an image's pixels that is removed in fine-tuning, and at most, on the average, in the test.
    steps
        Sizes of explanations: as many equal fractions of the pixels, at most one for each pixel.
    samples
        Draws for each size, the same ones for all images and sizes.
    pooling
        How a pixel's channels become one number.
    ties
        How equal relevance is ranked.
    output
        What is read of the target; the losses of logits and log-odds have no bounds.
    removal, train_images
        See `HelperMetric`.
    epochs
        Epochs of fine-tuning; null: as many as the classifier's training.

    Returns
    -------
    Scores
        All (B, T), areas over the size of the explanation, s / d. `fid_plus`: under FFid+, higher is better. `fid_minus`: under FFid-,
        lower is better. `value`: the first less the second; higher is better, and a ranking without information has 0 in the mean. For a
        probability the two lie in [-1, 1], and `value` in [-2, 2]. `tied`: share of pixels whose place in the ranking was drawn. Curves
        `fid_plus`, `fid_minus`: (B, T, steps + 1). NaN where the attributions hold a NaN.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Zheng et al., F-Fidelity: a robust framework for faithfulness evaluation of explainable AI, ICLR 2025 (arXiv:2410.02970), section 4.
    Differs: the target's probability, not whether the label is predicted (`output` "correct" with labels as targets); areas over all
    sizes; the pixels that a training image loses are drawn once, not anew for each epoch.
    """

    higher_is_better: ClassVar[bool | None] = True
    paper: ClassVar[str] = "Zheng et al., 2025 (arXiv:2410.02970)"
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL, Requires.TRAINING})

    epochs: PositiveInt | None = 10
    alpha: Share = 0.5
    beta: Share = 0.1
    steps: PositiveInt = 10
    samples: PositiveInt = 20
    pooling: Pooling = "sum"
    ties: Ties = "random"
    output: Read = "probability"

    def needs(self, training: Training, explainer: Explainer) -> Mapping[str, Training]:
        """One fine-tuned classifier, for all explainers."""
        alteration = RemoveAtRandom(images=self.train_images, share=self.beta, removal=self.removal)
        return {"fine_tuned": self.helper(training, alteration, fine_tune=True)}

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """One forward pass for each image, and two for each (image, target), size, sample, and draw of the removal."""
        sizes = curves.points(problem, Pixels(), self.steps) - 1
        return Passes(len(problem.images) + 2 * problem.targets.numel() * sizes * self.samples * self.removal.draws(problem))

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        problem = replace(problem, model=problem.helpers["fine_tuned"])
        ranked = curves.ranking(problem, explanation, rng, self.pooling, ties=self.ties)
        size = curves.fractions(ranked, self.steps)
        whole = perturb.values(problem, 1, lambda rows, _: problem.images[rows], self.output)
        lost = whole - self._outputs(problem, ranked, rng)
        found = {"fid_plus": pad(lost[..., : len(size) - 1], (1, 0)), "fid_minus": pad(lost[..., len(size) - 1 :], (0, 1))}
        found = {name: torch.where(ranked.defined[..., None], curve, torch.nan) for name, curve in found.items()}
        areas = {name: curves.area(curve, size) for name, curve in found.items()}
        return Scores({"value": areas["fid_plus"] - areas["fid_minus"], **areas, "tied": ranked.tied}, found, size)

    def _outputs(self, problem: Problem, ranked: Ranking, rng: Rng) -> Tensor:
        """(B, T, 2 S): the output without some of the s most relevant pixels, s = 1 ... S; then some of the others, s = 0 ... S - 1."""
        (batch, targets, height, width), device = ranked.rank.shape, problem.images.device
        sizes = curves.counts(ranked, self.steps)[0].to(torch.int32)
        pixels, zero = height * width, torch.zeros_like(sizes[1:])
        low, high = torch.cat([zero, sizes[:-1]]), torch.cat([sizes[1:], zero + pixels])
        share = (self.beta * pixels / (high - low)).clamp(max=self.alpha)
        drawn = torch.rand(self.samples, 1, height, width, generator=rng.shared()).to(device)
        ranks, draws = ranked.rank.reshape(-1, 1, height, width), self.removal.draws(problem)
        pair = torch.arange(batch, device=device).repeat_interleave(targets)
        pairs = replace(problem.take(pair), targets=problem.targets.reshape(-1, 1))
        remove = self.removal.prepared(pairs, rng)

        def alter(rows: Tensor, samples: Tensor) -> Tensor:
            sample, draw = samples // draws, samples % draws
            part, rank = sample // self.samples, ranks.index_select(0, rows)
            first, last, most = (table[part].reshape(-1, 1, 1, 1) for table in (low, high, share))
            gone = (rank >= first) & (rank < last) & (drawn.index_select(0, sample % self.samples) < most)
            return remove(rows, ~gone, draw)

        outputs = perturb.values(pairs, len(share) * self.samples, alter, self.output, draws)
        return outputs.reshape(batch, targets, len(share), self.samples).mean(dim=3)
