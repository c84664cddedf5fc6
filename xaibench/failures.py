"""What could not be computed, on record beside the store's results, so that it is told again instead of tried again."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from xaibench.disk import writing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why there is no result.

    Attributes
    ----------
    cell
        What was computed, in words.
    message
        The error, or the reason of a skip.
    traceback
        Where it happened; "" for a skip.
    """

    cell: str
    message: str
    traceback: str = ""

    @property
    def skipped(self) -> bool:
        """Whether it turned out not to be supported, which is no error."""
        return not self.traceback


@dataclass(frozen=True)
class Failures:
    """A folder with a file for each key that failed."""

    folder: Path

    def keys(self) -> set[str]:
        """All keys on record."""
        names = os.listdir(self.folder) if self.folder.is_dir() else ()
        return {name.removesuffix(".json") for name in names if not name.startswith(".")}

    def of(self, key: str) -> Failure | None:
        """The record of a key, if it failed; a damaged record counts as absent."""
        try:
            return Failure(**json.loads(self._path(key).read_text()))
        except (FileNotFoundError, TypeError, ValueError):
            return None

    def record(self, key: str, failure: Failure) -> None:
        """Keep it, in one step: others may read meanwhile."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = self._path(f".{key}-{uuid.uuid4().hex}")
            temporary.write_text(json.dumps(asdict(failure), indent=1))
            temporary.replace(self._path(key))

    def clean(self) -> None:
        """Forget the records that are damaged, so that what they are of is computed next time."""
        for key in self.keys():
            if self.of(key) is None:
                log.warning("damaged record %s: it will be computed again", self._path(key))
                self.forget([key])

    def forget(self, keys: Iterable[str]) -> None:
        """What is computed next time."""
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"
