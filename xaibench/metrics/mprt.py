"""Model parameter randomization test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.explaining import declared_passes
from xaibench.metrics import reexplanation
from xaibench.metrics.randomization import LayerRandomization, times
from xaibench.problem import Explainer, Explanation, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Mprt(LayerRandomization):
    """How alike the map stays when the classifier's learned parameters are replaced by random ones, layer by layer.

    An explanation that depends on what the classifier has learned must change. Fields: see `LayerRandomization` and `Comparison`.

    Returns
    -------
    Scores
        `layer_<k>_<module>`: (B, T), in [-1, 1], similarity of the maps before and after the step that ends with this layer, layer 1 next
        to the image; `value`: their mean over all layers. Lower is better: near 0 for a map that says nothing about the learned one, 1 for
        a method that ignores the parameters. NaN where a map is constant (over the pixels that are compared), or holds a NaN or an
        infinite value; `value` is NaN where one of the layers is.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, the explanation cannot explain again, or a layer cannot be
        initialized again.

    References
    ----------
    Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018 (arXiv:1810.03292), section 4: cascading (here top-down) and independent
    randomization; Spearman's correlation with and without absolute values, structural similarity. Differs: bottom-up order and the mean
    over layers, as in Hedstroem et al. 2024 (arXiv:2401.06465); PyTorch's own initialization of each module; histograms of gradients
    are not compared; `inside`.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Adebayo et al., 2018 (arXiv:1810.03292)"

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """Those of the explainer for each layer and randomization, and one forward pass that finds the layers."""
        return times(self.explained(problem), declared_passes(explainer, problem)) + Passes(forward=1)

    def original(self, problem: Problem, explanation: Explanation, rng: Rng) -> Tensor:
        """(B, T, C or 1, H, W): the maps that are scored."""
        return explanation.values

    def again(self, problem: Problem, explanation: Explanation, rng: Rng) -> Tensor:
        """(B, T, C or 1, H, W): the maps of a randomized classifier."""
        return reexplanation.explained(problem, explanation)
