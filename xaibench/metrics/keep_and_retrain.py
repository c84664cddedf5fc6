"""Keep and retrain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.curves import First
from xaibench.metrics.roar import Roar


@dataclass(frozen=True)
class KeepAndRetrain(Roar):
    """Area under the accuracy of classifiers that are retrained without the pixels found the least relevant.

    As `Roar`, but the most relevant pixels are the last to go. A high area means that they suffice to tell the classes. Fields: see
    `Roar`.

    Returns
    -------
    Scores
        As those of `Roar`, over the fraction of pixels removed; `value`, in [0, 1]: higher is better.

    References
    ----------
    Hooker et al., A benchmark for interpretability methods in deep neural networks (arXiv:1806.10758), where it is called KAR. Differs:
    see `Roar`.
    """

    higher_is_better: ClassVar[bool | None] = True
    first: ClassVar[First] = "least"
