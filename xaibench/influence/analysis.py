"""Entropic influence of pixels: what a classifier predicts, and how well, if images had more or less of a pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import annotated_types
import numpy as np
import torch
from torch import Tensor

from xaibench.component import Component, ConfigurationError, NonNegativeInt
from xaibench.influence.reads import checked, performance
from xaibench.influence.reweighting import reweighted
from xaibench.influence.targets import QuantileTargets, Targets
from xaibench.superpixels import Pixels, Superpixels

Tau = Annotated[float, annotated_types.Ge(-1), annotated_types.Le(1)]
Level = Annotated[float, annotated_types.Gt(0), annotated_types.Lt(1)]

PER_TAU = ("targets", "multiplier", "residual", "effective", "divergence", "moved", "boundary", "unreachable")
MEANS = {"means": "", "means_low": "_low", "means_high": "_high"} | {
    name: f"_{name}" for name in ("contrast", "contrast_low", "contrast_high")
}


@dataclass(frozen=True)
class Influence(Component):
    """What happens to the predictions for a data set when it has more, or less, of a pixel, all else staying as close as it can.

    Images are reweighted so that the mean of a pixel moves, with the least Kullback-Leibler divergence from equal weights, and the
    weighted mean of what was predicted is read off. No image is changed, and no classifier is asked: images, labels and predicted
    probabilities are enough. Pixels with several channels are taken by their mean over these.

    Parameters
    ----------
    taus
        Where a pixel's mean goes: -1 is the low target, 0 its own mean, 1 the high target.
    targets
        What these are.
    superpixels
        Regions, the same for all images, by whose mean images are reweighted; single pixels by default.
    resamples
        Replicates of the bootstrap over images, for intervals; 0: none.
    level
        Of the intervals.

    References
    ----------
    Bachoc, Gamboa, Halford, Loubes and Risser, Explaining machine learning models using entropic variable projection, 2018
    (arXiv:1810.07924). Differs: exact where the target is the smallest or largest value; all is solved to 1e-13 of the pixel's range.
    """

    taus: tuple[Tau, ...] = (-1.0, 1.0)
    targets: Targets = QuantileTargets()
    superpixels: Superpixels = Pixels()
    resamples: NonNegativeInt = 200
    level: Level = 0.95

    def __post_init__(self) -> None:
        """Raise unless there are taus, ascending."""
        super().__post_init__()
        if not self.taus or list(self.taus) != sorted(set(self.taus)):
            raise ConfigurationError(f"Influence.taus={self.taus!r}: expected at least one, ascending")
        if not self.superpixels.shared:
            raise ConfigurationError(f"Influence.superpixels={self.superpixels}: expected regions that all images share")

    def __call__(
        self,
        images: Tensor,
        probabilities: Tensor,
        labels: Tensor,
        classes: Sequence[str],
        seed: int = 0,
        progress: Callable[[float], None] = lambda share: None,
    ) -> dict[str, Tensor]:
        """Reweight by every region.

        Parameters
        ----------
        images, probabilities, labels
            (N, C, H, W), (N, K) and (N,).
        classes
            Names of the K classes.
        seed
            Of the bootstrap.
        progress
            Called with the share that is done.

        Returns
        -------
        dict
            `probability` (S, K, H, W): the weighted mean probability of each class. `performance` (S, P, H, W): accuracy, log loss
            (nats), Brier score and the recall of each class, see `reads.performance`. `probability_contrast` (K, H, W) and
            `performance_contrast` (P, H, W): that at the last tau less that at the first. All with `_low` and `_high`, the ends of their
            intervals, if there are resamples; `probability_contrasts` (B, K, H, W), float32: in each of these. `mean_probability` (K,)
            and `mean_performance` (P,): with equal weights. And (S, H, W) each: what `reweighting.Reweighted` has. float64 and bool,
            NaN where there is nothing; a region's number stands at each of its pixels.

        Raises
        ------
        ValueError
            If lengths differ, a number is not finite, or rows are no probabilities.
        """
        read = performance(probabilities.cpu().numpy(), labels.cpu().numpy(), classes)
        given, kinds = checked(probabilities.cpu().numpy()), len(classes)
        values, per = np.column_stack([given, read.values]), np.column_stack([np.ones_like(given), read.per])
        features, region = self.features(images)
        found = reweighted(features, values, self.taus, self.targets, per, self.resamples, self.level, seed, progress)
        tensors = {name: _placed(getattr(found, name), region) for name in PER_TAU if getattr(found, name) is not None}
        for name, end in MEANS.items():
            if getattr(found, name) is not None:
                both = _placed(getattr(found, name), region)
                tensors[f"probability{end}"], tensors[f"performance{end}"] = (
                    part.contiguous() for part in both.tensor_split([kinds], dim=-3)
                )
        if found.contrasts is not None:
            tensors["probability_contrasts"] = _placed(found.contrasts.transpose(1, 0, 2)[..., :kinds], region)
        total = per.sum(axis=0)
        plain = torch.from_numpy(np.where(total > 0, values.sum(axis=0) / np.maximum(total, 1), np.nan))
        return tensors | {"mean_probability": plain[:kinds].clone(), "mean_performance": plain[kinds:].clone()}

    def features(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """(N, R): mean of each region, and (H, W): each pixel's region."""
        region = self.superpixels(images[:1])[0].cpu().numpy()
        grey = (images if images.shape[1] == 1 else images.to(torch.float64).mean(dim=1, keepdim=True)).flatten(1).cpu().numpy()
        if isinstance(self.superpixels, Pixels):
            return grey, region
        member = np.eye(region.max() + 1)[region.ravel()]
        return grey.astype(np.float64) @ member / member.sum(axis=0), region


def _placed(values: np.ndarray, region: np.ndarray) -> Tensor:
    """(S, ..., H, W), of (R, S, ...)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(values[region], (0, 1), (-2, -1))))
