"""What a deterministic policy gradient has tried so far."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

VERSION = 1


class Trials(NamedTuple):
    """Codes (n, L) that were proposed for training images, of which only the rows (n,) are kept, the targets (n,), the rewards (n,)."""

    rows: Tensor
    targets: Tensor
    codes: Tensor
    rewards: Tensor


class ReplayBuffer:
    """The last trials, as many as fit: the oldest give way to new ones.

    Parameters
    ----------
    size, latent
        How many trials fit, and numbers in a code.
    device
        Where they are kept; rows stay in the host's memory, as the images do.
    """

    def __init__(self, size: int, latent: int, device: torch.device) -> None:
        rows, targets = torch.zeros(size, dtype=torch.int64), torch.zeros(size, dtype=torch.int64, device=device)
        self._kept = Trials(rows, targets, torch.zeros(size, latent, device=device), torch.zeros(size, device=device))
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, len(self._kept.rows))

    def add(self, trials: Trials) -> None:
        """Keep these, in place of the oldest."""
        places = (self._added + torch.arange(len(trials.rows))) % len(self._kept.rows)
        for kept, new in zip(self._kept, trials, strict=True):
            kept[places.to(kept.device)] = new
        self._added += len(trials.rows)

    def sample(self, count: int, draws: torch.Generator) -> Trials:
        """Some of them, drawn with replacement."""
        places = torch.randint(len(self), (count,), generator=draws)
        return Trials(*(kept[places.to(kept.device)] for kept in self._kept))
