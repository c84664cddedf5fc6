"""Deletion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from xaibench import perturb
from xaibench.component import PositiveInt
from xaibench.perturb import Pooling
from xaibench.problem import Explainer, Explanation, Family, Metric, Passes, Problem, Scores
from xaibench.removal import Constant, Removal, several_draws
from xaibench.seeding import Rng


@dataclass(frozen=True)
class Deletion(Metric):
    """Area under the target's probability as the most relevant pixels are removed.

    Pixels are ranked by attribution pooled over channels (ties: a permutation drawn for each image) and handed to `removal`,
    the most relevant first, in `steps` equal fractions. A low area means that the ranking found what the classifier used.

    Parameters
    ----------
    steps
        Number of equal fractions, at most one for each pixel; the curve has `steps + 1` points, 0 % and 100 % included.
    removal
        What a removed pixel becomes. Scores under different operators are not comparable.
    pooling
        How a pixel's channels become one number.
    output
        The output of the target whose curve is drawn; areas under logits have no bounds.

    Returns
    -------
    Scores
        `value`: (B, T), area, output x fraction of pixels, in [0, 1] for a probability; lower is better. `tied`: (B, T), share of pixels
        whose place in the ranking was drawn. Curve, named as `output`: (B, T, steps + 1), over the fraction removed. NaN where the
        attributions hold a NaN, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Petsiuk et al., RISE, BMVC 2018 (arXiv:1806.07421). Differs: pixels go in equal fractions of the image, not in a fixed number.
    """

    family: ClassVar[Family] = Family.FAITHFULNESS
    higher_is_better: ClassVar[bool | None] = False
    version: ClassVar[int] = 1
    paper: ClassVar[str] = "arXiv:1806.07421"

    steps: PositiveInt = 28
    removal: Removal = Constant(0.0)
    pooling: Pooling = "sum"
    output: Literal["probability", "logit"] = "probability"

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs a model, and a removal that makes one version of a removed pixel."""
        return perturb.without_model(problem) or several_draws(self.removal, problem)

    def passes(self, problem: Problem) -> Passes:
        """One forward pass for each point of the curve."""
        return perturb.curve_passes(problem, self.steps)

    def __call__(self, problem: Problem, explanation: Explanation, rng: Rng) -> Scores:
        """Score every (image, target)."""
        ranked = perturb.ranking(problem, explanation, rng, self.pooling)
        logits = perturb.curves(problem, ranked, self.removal, self.steps, first="most")
        curve = perturb.outputs(logits, problem.targets, self.output)
        removed = perturb.fractions(problem, self.steps)
        return Scores({"value": perturb.area(curve, removed), "tied": ranked.tied}, {self.output: curve}, removed)
