"""Remove and retrain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import annotated_types
import torch

from xaibench import curves
from xaibench.alterations import RemoveAtRandom, RemoveRelevant, removed_pixels
from xaibench.component import ConfigurationError
from xaibench.curves import First, Ties
from xaibench.maps import Pooling
from xaibench.metrics.helper_metric import HelperMetric
from xaibench.problem import Alteration, Explainer, Explanation, Passes, Problem, Training
from xaibench.removal import Constant, DatasetMean, Removal
from xaibench.scoring import Requires, Scores
from xaibench.seeding import Rng

Share = Annotated[float, annotated_types.Gt(0), annotated_types.Lt(1)]


@dataclass(frozen=True)
class Roar(HelperMetric):
    """Area under the accuracy of classifiers that are retrained without the pixels found the most relevant.

    For each share of `fractions`, all training images are explained by the explainer itself, for the class that the classifier predicts,
    and lose that share of their pixels, the most relevant first; a classifier is trained from new weights on them, and classifies test
    images that lost the same share by their own maps. A low area means that what was removed is what the classes can be told by. But
    a removed pixel's place tells something too, which the retrained classifier may use. At the ends of the curve stand a classifier
    trained with whole images (the explained one, unless `epochs` or `train_images` differ for helpers), and one trained
    with images that lost every pixel: it knows what `removal` leaves, for a constant no more than which class is the most common.

    Parameters
    ----------
    fractions
        Shares of pixels, ascending, each with a training of its own; 0 and 1 come on top.
    pooling
        How a pixel's channels become one number.
    ties
        How equal relevance is ranked.
    removal, epochs, train_images
        See `HelperMetric`.

    Returns
    -------
    Scores
        `value`: (B, T), area under `accuracy` over the fraction of pixels removed, in [0, 1]; lower is better. `tied`: (B, T), share of
        pixels whose place in the ranking was drawn. Curve `accuracy`: (B, T, S + 2), whether the true class is predicted, 1 or 0 (a mean
        over the draws of `removal`), whichever target was explained. NaN where the attributions hold a NaN.

    Raises
    ------
    ConfigurationError
        If `fractions` do not ascend, or a training image's explanation holds a NaN.
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Hooker et al., A benchmark for interpretability methods in deep neural networks, NeurIPS 2019 (arXiv:1806.10758), section 3. Differs:
    one training for each share, with the classifier's seed, not the mean of five; an area, with the end point of 100 %.
    """

    higher_is_better: ClassVar[bool | None] = False
    paper: ClassVar[str] = "Hooker et al., 2019 (arXiv:1806.10758)"
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL, Requires.EXPLAINER, Requires.TRAINING})
    first: ClassVar[First] = "most"

    fractions: tuple[Share, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    removal: Removal = DatasetMean()
    pooling: Pooling = "sum"
    ties: Ties = "random"

    def __post_init__(self) -> None:
        """Raise unless the fractions ascend."""
        super().__post_init__()
        if not self.fractions or list(self.fractions) != sorted(set(self.fractions)):
            raise ConfigurationError(f"{type(self).__name__}.fractions={self.fractions!r}: expected at least one, ascending")

    def needs(self, training: Training, explainer: Explainer) -> Mapping[str, Training]:
        """A classifier for each share of pixels; those for 0 and 1 serve all explainers."""
        found = {_name(share): self.helper(training, self._without(share, explainer), fine_tune=False) for share in self._shares()}
        return found if self.epochs or self.train_images else found | {_name(0.0): training}

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """One forward pass through each retrained classifier for each (image, target) and draw of the removal."""
        return Passes(len(self._shares()) * problem.targets.numel() * self.removal.draws(problem))

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        ranked = curves.ranking(problem, explanation, rng, self.pooling, ties=self.ties)
        labels, device, pixels = problem.labels[:, None].expand(problem.targets.shape), problem.images.device, problem.images[0, 0].numel()
        right = []
        for share in self._shares():
            retrained = replace(problem, model=problem.helpers[_name(share)])
            number = torch.tensor([[removed_pixels(share, pixels)]], device=device)
            right.append(curves.curves(retrained, ranked, self.removal, rng, number, ("correct",), self.first, labels)["correct"])
        accuracy = torch.cat(right, dim=2)
        removed = torch.tensor([removed_pixels(share, pixels) / pixels for share in self._shares()], device=device, dtype=torch.float64)
        return Scores({"value": curves.area(accuracy, removed), "tied": ranked.tied}, {"accuracy": accuracy}, removed)

    def _shares(self) -> tuple[float, ...]:
        return (0.0, *self.fractions, 1.0)

    def _without(self, share: float, explainer: Explainer) -> Alteration:
        if share == 0:
            return RemoveAtRandom(images=self.train_images, share=share, removal=Constant())
        if share == 1:
            return RemoveAtRandom(images=self.train_images, share=share, removal=self.removal)
        return RemoveRelevant(
            images=self.train_images,
            explainer=explainer,
            share=share,
            first=self.first,
            removal=self.removal,
            pooling=self.pooling,
            ties=self.ties,
        )


def _name(share: float) -> str:
    return f"without_{share}"
