"""Relative output stability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.metrics.relative_stability import RelativeStability
from xaibench.metrics.robustness import length


@dataclass(frozen=True)
class RelativeOutputStability(RelativeStability):
    """How much more the attributions change, relatively, than the logits do, at the most over noisy copies of the predicted class.

    The largest |(e - e') / e|_p / max(|h(x) - h(x')|_p, eps), e the signed attributions of the image's target, h all logits; their change
    is not relative. Fields: see `RelativeStability`.

    Returns
    -------
    Scores
        `value`: (B, T), 0 or more, per unit of logit; lower is better. NaN where no copy keeps the predicted
        class, and where the image's map, or that of a copy that counts, holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or the explanation cannot explain again.

    References
    ----------
    Agarwal et al., Rethinking stability for attribution-based explanations, 2022 (arXiv:2203.06877), eq. 5. Differs: zeros by which is
    divided become `eps`, which the definition leaves open.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Agarwal et al., 2022 (arXiv:2203.06877)"

    def moved(self, images: Tensor, logits: Tensor, recorded: Tensor) -> Tensor:
        """(n, S, 1): the change of the logits."""
        return length(logits[:, 1:] - logits[:, :1], self.p)
