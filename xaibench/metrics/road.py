"""Remove and debias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.component import PositiveInt
from xaibench.curves import First
from xaibench.metrics.abpc import Abpc
from xaibench.perturb import Read
from xaibench.removal import NoisyLinear, Removal


@dataclass(frozen=True)
class Road(Abpc):
    """How much longer a classifier keeps its decision when the least relevant pixels are imputed first than when the most relevant are.

    Pixels are ranked by attribution pooled over channels (ties: a permutation drawn for each image) and imputed from their neighbors,
    with a little noise, in `steps` equal fractions, once the most relevant first (MoRF) and once the least relevant first (LeRF). The
    imputation hides which pixels were removed, so that their pattern gives nothing away. The score is half the area between the two
    curves. The mean of the `correct` output over images is the accuracy, where the targets are the true classes. Fields: see
    `CurveMetric`.

    Returns
    -------
    Scores
        All (B, T). `value`: (LeRF - MoRF) / 2, in [-0.5, 0.5] for `correct` and `probability`; higher is better. `most_first`,
        `least_first`: areas under the two curves, in [0, 1]; a good map has a low first and a high second. `tied`: share of pixels whose
        place in the ranking was drawn. Curves `<output>_most_first`, `<output>_least_first`: (B, T, steps + 1), over the fraction removed.
        NaN where the attributions hold a NaN, or the classifier gives one.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size.

    References
    ----------
    Rong et al., A consistent and efficient evaluation strategy for attribution methods, ICML 2022 (arXiv:2202.00449). Differs: areas from
    0 % to 100 %, not accuracies at 10 % to 90 % alone; the combined score is that of the package pytorch-grad-cam (ROADCombined).
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Rong et al., 2022 (arXiv:2202.00449)"

    removal: Removal = NoisyLinear()
    output: Read = "correct"
    steps: PositiveInt = 10

    def values(self, along: Mapping[First, Tensor], axis: Tensor) -> dict[str, Tensor]:
        """Half the area between the curves, and the areas under each."""
        found = super().values(along, axis)
        return found | {"value": found["value"] / 2}
