"""The batched perturbation engine: everything that only sends altered images forward through the classifier."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaibench.problem import Problem

VERSION = 1


def logits(problem: Problem, count: int, make: Callable[[Tensor], Tensor]) -> Tensor:
    """(count, K) logits of inputs that `make` gives, chunk by chunk, from their positions 0 ... count - 1."""
    model = problem.classifier
    with torch.inference_mode():
        positions = torch.arange(count, device=problem.images.device)
        return torch.cat([model(make(chunk)) for chunk in positions.split(problem.chunk)])
