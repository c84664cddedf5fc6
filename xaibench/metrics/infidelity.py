"""Infidelity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench import perturb
from xaibench.maps import check_shapes
from xaibench.metrics.perturbations import GaussianNoise, Perturbation
from xaibench.metrics.subsets import unaltered
from xaibench.perturb import Read
from xaibench.problem import Explainer, Explanation, Family, Passes, Problem
from xaibench.scoring import Metric, Requires, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Infidelity(Metric):
    """Mean squared difference between what attributions say of a perturbation and how it changes the output.

    E[(b I . phi - (f(x) - f(x - I)))^2] over perturbations I of an image x with attributions phi; all images share the perturbations. The
    scale b is 1, or the one for which the expectation is smallest, E[(I . phi)(f(x) - f(x - I))] / E[(I . phi)^2], which may be negative.
    With b = 1 a map is judged by its units first, and one near 0 scores well. Both cost the same passes, and both are given. Nothing is
    ranked, so there are no ties. A map with one channel says the same of all channels of a pixel.

    Parameters
    ----------
    perturbation
        Where I comes from: `GaussianNoise` and `NoisyBaseline` ask for attributions per unit of input, such as gradients; `SquareRemoval`,
        by default, for contributions. Scores under different perturbations are not comparable.
    scale
        Which of the two is the headline: "optimal" or "none".
    output
        What is read of the target; f.

    Returns
    -------
    Scores
        All (B, T), lower is better, 0 or more, in squared units of the output: `value`, the headline; `unscaled`, with scale 1; `scaled`,
        with the optimal scale, at most the mean squared change. `scale`: (B, T), b; NaN where all products are 0 (any b is then optimal).
        All NaN where a map holds a NaN, where the classifier gives one, or where float32 cannot hold the result.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Yeh et al., On the (in)fidelity and sensitivity of explanations, NeurIPS 2019 (arXiv:1901.09392), definition 2.1. The optimal scale, the
    clipped noisy baseline and the squares of sides 1 to 10 at all positions are those of the authors' code. Differs: logits are read by
    default, and 1,000 samples of Gaussian noise taken, where the paper has 10,000.
    """

    family: ClassVar[Family] = Family.FAITHFULNESS
    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Yeh et al., 2019 (arXiv:1901.09392)"
    requires: ClassVar[frozenset[Requires]] = frozenset({Requires.MODEL})

    perturbation: Perturbation = GaussianNoise()
    scale: Literal["optimal", "none"] = "optimal"
    output: Read = "logit"

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs a model, and images that can be perturbed."""
        return super().unsupported(problem, explainer) or self.perturbation.unsupported(problem)

    def passes(self, problem: Problem, explainer: Explainer) -> Passes:
        """One forward pass for each image, and those of the perturbation; all targets share them."""
        return Passes(len(problem.images)) + self.perturbation.passes(problem)

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        check_shapes(problem, explanation)
        squared, mixed, change = self._moments(problem, explanation, rng)
        unscaled = squared - 2 * mixed + change
        silent = squared == 0
        scale = torch.where(silent, torch.nan, mixed / squared)
        scaled = change - torch.where(silent, 0.0, mixed * scale)
        found = {"unscaled": unscaled.clamp_min(0), "scaled": scaled.clamp_min(0), "scale": scale}
        values = {name: value.to(torch.float32) for name, value in found.items()}
        values = {name: torch.where(value.isfinite(), value, torch.nan) for name, value in values.items()}
        return Scores({"value": values["scaled" if self.scale == "optimal" else "unscaled"], **values})

    def _moments(self, problem: Problem, explanation: Explanation, rng: Rng) -> Tensor:
        """(3, B, T), float64: the means of product^2, product x change and change^2."""
        (batch, targets), device = problem.targets.shape, problem.images.device
        before = perturb.values(problem, 1, unaltered(problem), self.output).to(torch.float64)
        sums, count = torch.zeros(3, batch, targets, dtype=torch.float64, device=device), 0
        for block in self.perturbation.blocks(problem, explanation, self.output, rng):
            for rows in torch.arange(batch, device=device).split(max(1, perturb.GROUP_VALUES // (block.count * targets))):
                product, change = block.products(rows), before[rows] - block.outputs(rows)
                sums[:, rows] += torch.stack(
                    [(one * other).sum(2) for one, other in ((product, product), (product, change), (change, change))]
                )
            count += block.count
        return sums / count
