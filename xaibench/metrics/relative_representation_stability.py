"""Relative representation stability."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.metrics import representation
from xaibench.metrics.relative_stability import RelativeStability
from xaibench.metrics.robustness import length
from xaibench.problem import Explainer, Problem


@dataclass(frozen=True)
class RelativeRepresentationStability(RelativeStability):
    """How much more the attributions change than the last hidden layer does, both relative, at the most over copies of the predicted class.

    The largest |(e - e') / e|_p / max(|(L - L') / L|_p, eps), e the signed attributions of the image's target, L the classifier's
    representation of the image. Units that are 0 at the image are divided by `eps`. Fields: see `RelativeStability`.

    Parameters
    ----------
    layer
        The module whose output is the representation, by its name in the classifier; by default what enters the last linear layer.

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
    Agarwal et al., Rethinking stability for attribution-based explanations, 2022 (arXiv:2203.06877), eq. 3. Differs: zeros by which is
    divided become `eps`, which the definition leaves open; the layer, too.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = "Agarwal et al., 2022 (arXiv:2203.06877)"

    layer: str = ""

    def unsupported(self, problem: Problem, explainer: Explainer) -> str | None:
        """Needs the layer."""
        reason = super().unsupported(problem, explainer)
        if reason is not None or representation.layer_of(problem.classifier, self.layer) is not None:
            return reason
        if self.layer:
            return f"the classifier has no module {self.layer!r}, whose output would be the representation"
        return "the classifier has no linear layer, whose input would be the representation; name a layer"

    @contextlib.contextmanager
    def recording(self, problem: Problem) -> Iterator[list[Tensor]]:
        """The representations of the images that go through the model."""
        with representation.recording(problem.classifier, self.layer) as record:
            yield record

    def moved(self, images: Tensor, logits: Tensor, recorded: Tensor) -> Tensor:
        """(n, S, 1): the relative change of the representation."""
        return length(self.relative(recorded[:, :1], recorded[:, 1:]), self.p)
