"""Region perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.component import PositiveInt
from xaibench.metrics.aopc import Aopc
from xaibench.removal import Removal, UniformNoise
from xaibench.superpixels import Patches, Superpixels


@dataclass(frozen=True)
class RegionPerturbation(Aopc):
    """How far the target's output falls in the mean over all steps as square patches turn into noise, the most relevant first.

    The image is cut into patches of 9 x 9 pixels (smaller ones at the right and lower border, where 9 does not divide it). They are
    ranked by the mean of their pixels' attribution, pooled over channels, and go one by one, or in `steps` equal fractions where there are
    more; each pixel then has values drawn uniformly from [0, 1], and outputs are averaged over ten draws. Fields: see `Aopc`.

    Returns
    -------
    Scores
        `value`: (B, T), mean fall of the output, in [-1, 1] for a probability; higher is better (see `Aopc.order`). `tied`: (B, T), share
        of patches whose place in the ranking was drawn. Curve, named as `output`: (B, T, steps + 1), over the fraction of patches removed.
        NaN where the attributions hold a NaN, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Samek et al., Evaluating the visualization of what a deep neural network has learned, 2017 (arXiv:1509.06321), algorithm and eq. 12.
    Differs: all patches are removed, not the first 100; they are ranked by the mean, not the sum, which differs only for the smaller ones
    at the border; a pixel gets the same noise at every step.
    """

    version: ClassVar[int] = 1

    removal: Removal = UniformNoise(samples=10)
    superpixels: Superpixels = Patches(side=9)
    steps: PositiveInt = 100
