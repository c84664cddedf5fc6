"""Tracking: a mirror of a study's results elsewhere. The store is the source, and the mirror is never read back."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xaibench.component import Component

if TYPE_CHECKING:
    from xaibench.tables.longtable import Results  # brings pandas, which planning does not need


class Tracker(Component):
    """Where a study's results are mirrored after a sweep."""

    @abstractmethod
    def mirror(self, results: Results, study: str, folder: Path) -> str:
        """Send a study's results and the files of its `folder` (``results/<study>``); gives what to tell the user, or ""."""


@dataclass(frozen=True)
class NoTracker(Tracker):
    """No mirror."""

    def mirror(self, results: Results, study: str, folder: Path) -> str:
        """Nothing."""
        return ""
