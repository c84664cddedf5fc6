"""The nearest training image of the target: what every other method must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.counterfactuals.black_box import BlackBoxSearch
from xaibench.neighbors import nearest
from xaibench.problem import Family, Passes, Problem
from xaibench.searching import Pairs, Proposals
from xaibench.seeding import Rng


@dataclass(frozen=True)
class NearestTrainingImage(BlackBoxSearch):
    """The training image of the target class that is nearest to the original, by Euclidean distance: the control.

    It is real, and so as plausible as an image can be, but it is not made for the original: a method whose counterfactuals lie farther
    away has found nothing.

    Parameters
    ----------
    by
        Of what class it is. By prediction: labeled as the target and taken for it by the classifier, which is asked about the images of
        that label in order of distance until one is. By label: labeled as the target; it is not found where the classifier errs.
    most_candidates
        Training images of a pair that the classifier is asked about at most; the pair is not found if it accepts none of them.
    confidence
        See `CounterfactualExplainer`.

    Returns
    -------
    Counterfactuals
        Training images, the lowest row of equally near ones; where none is accepted, the nearest with the label, and where no training
        image has the label, the original.
    """

    family: ClassVar[Family] = Family.CONTROL

    by: Literal["prediction", "label"] = "prediction"
    most_candidates: PositiveInt = 50

    def unsupported(self, problem: Problem) -> str | None:
        """Needs training images."""
        return super().unsupported(problem) or ("needs training images, and there are none" if problem.training_data is None else None)

    def most_passes(self, problem: Problem) -> Passes:
        """One for each candidate."""
        return Passes(self.most_candidates if self.by == "prediction" else 0)

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        """See `CounterfactualExplainer`."""
        assert problem.training_data is not None
        data, labels = problem.training_data.images, problem.training_data.labels
        candidates = nearest(pairs.images, data, self.most_candidates if self.by == "prediction" else 1, labels, pairs.targets)[1]
        forward, chosen = torch.zeros_like(pairs.targets), candidates[:, 0].clone()

        def image(rows: Tensor) -> Tensor:
            return data[rows.to(data.device)].to(pairs.images)

        active = (chosen >= 0).nonzero()[:, 0] if self.by == "prediction" else chosen[:0]
        for place in range(self.most_candidates):
            active = active[candidates[active, place] >= 0]
            if not len(active):
                break
            rows = candidates[active, place]
            good = self.accepted(problem, pairs.targets[active], image, rows)
            forward[active] += 1
            chosen[active[good]] = rows[good]
            active = active[~good]
        images, there = pairs.images.clone(), chosen >= 0
        images[there] = image(chosen[there])
        return Proposals(images, forward, torch.zeros_like(forward))
