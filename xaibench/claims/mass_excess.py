"""Whether some classes get more positive evidence than the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaibench.claims.base import SHARE, row
from xaibench.claims.explanation_claim import ExplanationClaim
from xaibench.component import NonNegativeInt
from xaibench.stats.intervals import crossed_interval
from xaibench.tables.longtable import Results


@dataclass(frozen=True, kw_only=True)
class MassExcess(ExplanationClaim):
    """Positive evidence for a class beyond that for the classes not named, as a share of all positive evidence: above 0 if it has more.

    The positive mass of (image, class) is the sum of the positive attributions. For each class named: its mass minus the mean mass of
    the classes that are neither named nor predicted, divided by the mass of all classes together. One row for each class named and
    configuration, with the interval of images crossed with seeds, and one for their share of all mass, without an expectation.

    Parameters
    ----------
    topic, indices, true_class, correct, confidence
        As for `ExplanationClaim`.
    named
        The classes.
    """

    named: tuple[NonNegativeInt, ...] = ()

    def rows(self, results: Results) -> Iterable[dict[str, Any]]:
        """Check the claim."""
        for evidence in self.evidence(results):
            mass = np.maximum(evidence.values, 0).sum(axis=(3, 4))
            total = mass.sum(axis=2)
            positions = [evidence.position(target) for target in self.named]
            rest = evidence.targets != evidence.predicted[..., None]
            rest[..., positions] = False
            with np.errstate(invalid="ignore"):
                others = np.where(rest, mass, 0).sum(axis=2) / rest.sum(axis=2)
                for position, target in zip(positions, self.named, strict=True):
                    excess = crossed_interval(((mass[..., position] - others) / total).T)
                    yield row(
                        evidence.names, f"excess share of positive mass for {evidence.classes[target]}", excess, ">", 0.0, (-1.0, 1.0)
                    )
                share = crossed_interval((mass[..., positions].sum(axis=2) / total).T)
            yield row(
                evidence.names,
                f"share of positive mass for {', '.join(evidence.classes[target] for target in self.named)}",
                share,
                within=SHARE,
            )
