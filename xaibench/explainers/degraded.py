"""Another explainer's maps, made worse by a known amount."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench.baselines import blurred
from xaibench.component import Fraction
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem, Training
from xaibench.seeding import Rng

Kind = Literal["noise", "blur", "shift", "negate"]


@dataclass(frozen=True)
class Degraded(Explainer):
    """The maps of another explainer, made worse by a known amount: what a metric should notice.

    A metric that can tell anything on a data set ranks these explanations by their strength. It is no method of explanation.

    Parameters
    ----------
    of
        Whose maps. What it explains is this explainer's `output`, whatever its own says.
    kind
        ``noise``: (1 - strength) map / s + strength e, with s the map's root mean square (a map of zeros stays) and e standard normal,
        independent for every image and target. ``blur``: a Gaussian of standard deviation strength x a quarter of the shorter side; what
        lies beyond the border has no weight. ``shift``: the map moved down and to the right, around the border, by strength x half of
        each side. ``negate``: (1 - 2 strength) map.
    strength
        0 leaves the map as it is, but for a positive factor in each map with ``noise``.

    Returns
    -------
    Attributions
        (B, T, C or 1, H, W), as those of `of`; signed, without unit. They claim nothing.
    """

    family: ClassVar[Family] = Family.DEGRADED

    of: Explainer = IntegratedGradients(steps=20)
    kind: Kind = "noise"
    strength: Fraction = 0.5

    def needs(self, training: Training) -> Mapping[str, Training]:
        """What `of` needs."""
        return self.of.needs(training)

    def unsupported(self, problem: Problem) -> str | None:
        """Why this problem cannot be explained, or None: what `of` cannot explain."""
        return self._inner.unsupported(problem)

    def passes(self, problem: Problem) -> Passes:
        """Those of `of`."""
        return self._inner.passes(problem)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain every (image, target)."""
        values, (height, width) = self._inner(problem, rng).values, problem.images.shape[-2:]
        if self.kind == "noise":
            return Attributions(self._noisy(values, problem, rng))
        if self.kind == "negate":
            return Attributions((1 - 2 * self.strength) * values)
        if self.kind == "shift":
            return Attributions(values.roll((round(self.strength * height / 2), round(self.strength * width / 2)), dims=(3, 4)))
        sigma = self.strength * min(height, width) / 4
        return Attributions(blurred(values.flatten(0, 1), sigma, problem).reshape(values.shape) if sigma else values)

    def _noisy(self, values: Tensor, problem: Problem, rng: Rng) -> Tensor:
        size = values.square().mean(dim=(2, 3, 4), keepdim=True).sqrt()
        # drawn by target, not by its place: a target's noise does not depend on which others are asked for
        each = rng.each(problem.index.repeat_interleave(values.shape[1]), problem.targets.flatten())
        noise = each.normal(*values.shape[2:]).reshape(values.shape)
        return (1 - self.strength) * torch.where(size > 0, values / size, values) + self.strength * noise

    @property
    def _inner(self) -> Explainer:
        return dataclasses.replace(self.of, output=self.output)
