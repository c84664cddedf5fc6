"""Relative input stability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.metrics.relative_stability import RelativeStability
from xaibench.metrics.robustness import length


@dataclass(frozen=True)
class RelativeInputStability(RelativeStability):
    """How much more the attributions change than the image does, both relative, at the most over noisy copies of the predicted class.

    The largest |(e - e') / e|_p / max(|(x - x') / x|_p, eps), e the signed attributions of the image's target. Most pixels of an MNIST
    image are 0, and changes there are divided by `eps`: they outweigh all others. Fields: see `RelativeStability`.

    Returns
    -------
    Scores
        `value`: (B, T), 0 or more, a ratio of relative changes; lower is better. NaN where no copy keeps the predicted
        class, and where the image's map, or that of a copy that counts, holds a NaN or an infinite value.

    Raises
    ------
    ValueError
        If attributions and images differ in batch, targets or spatial size, or the explanation cannot explain again.

    References
    ----------
    Agarwal et al., Rethinking stability for attribution-based explanations, 2022 (arXiv:2203.06877), eq. 2. Differs: zeros by which is
    divided become `eps`, which the definition leaves open.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Agarwal et al., 2022 (arXiv:2203.06877)"

    def moved(self, images: Tensor, logits: Tensor, recorded: Tensor) -> Tensor:
        """(n, S, 1): the relative change of the image."""
        return length(self.relative(images[:, :1], images[:, 1:]), self.p)
