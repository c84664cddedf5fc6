"""The store: `store/<stage>/<key>/` holds a stage's result, and its presence is success.

A folder is written beside its place and renamed into it, `spec.json` last. So a killed writer leaves nothing that could be mistaken
for a result, and of two writers the loser discards its own. Locks only save double work; correctness does not depend on them.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from xaibench.disk import StoreError, writing
from xaibench.failures import Failures
from xaibench.locks import LOCKS, locked, locks

DAMAGED = (FileNotFoundError, KeyError, TypeError, ValueError, safetensors.SafetensorError)
"""What reading a damaged result raises. Any other `OSError` tells of the system, not of the result, which may be read again later."""

PAYLOAD, SPEC, PROVENANCE = "payload.safetensors", "spec.json", "provenance.json"
FAILURES = "failures"
"""What lies beside the stages' folders and the locks."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """A stage's result.

    Attributes
    ----------
    tensors
        The payload, by name.
    provenance
        Versions, device, seconds, passes, peak memory, date: recorded beside the result, not part of its key.
    """

    tensors: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors called `prefix.NAME`, by NAME."""
        return {name.removeprefix(f"{prefix}."): value for name, value in self.tensors.items() if name.startswith(f"{prefix}.")}


@dataclass(frozen=True)
class Store:
    """Results by stage and key.

    Attributes
    ----------
    root
        Where they are kept, and looked for first.
    caches
        Roots of further stores, which are only read.
    """

    root: Path
    caches: tuple[Path, ...] = ()

    @property
    def failures(self) -> Failures:
        """What could not be computed."""
        return Failures(self.root / FAILURES)

    def folder(self, stage: str, key: str) -> Path:
        """Where a result lies, or would lie."""
        return next(self._found(stage, key), self.root / stage / key)

    def has(self, stage: str, key: str) -> bool:
        """Whether the result is there, without reading it."""
        return next(self._found(stage, key), None) is not None

    def read(self, stage: str, key: str) -> Artifact | None:
        """The result, or None if it is absent; a damaged folder is reported, removed, and counts as absent.

        Raises
        ------
        OSError
            If a file that is there cannot be read; the result stays.
        """
        try:
            folder = next(self._found(stage, key), None)
            return None if folder is None else _load(folder)
        except DAMAGED:
            with self._lock(key):  # another process may have repaired it meanwhile
                return self._whole(stage, key)

    def _whole(self, stage: str, key: str) -> Artifact | None:
        """As `read`, for who holds the lock."""
        for folder in self._found(stage, key):
            try:
                return _load(folder)
            except DAMAGED as error:
                log.warning("damaged result %s/%s (%s): it will be computed again", stage, key[:12], error)
                if folder.is_relative_to(self.root):
                    self.remove(stage, key)
                else:
                    with writing(self.root):
                        self._damaged(stage, key).parent.mkdir(parents=True, exist_ok=True)
                        self._damaged(stage, key).touch()
        return None

    def _found(self, stage: str, key: str) -> Iterator[Path]:
        place = f"{self.root}/{stage}/{key}"
        if os.path.isfile(f"{place}/{SPEC}"):
            yield Path(place)
        for cache in self.caches:
            place = f"{cache}/{stage}/{key}"
            if os.path.isfile(f"{place}/{SPEC}") and not self._damaged(stage, key).exists():
                yield Path(place)

    def _damaged(self, stage: str, key: str) -> Path:
        """Marks that the caches' results are of no use: they are not ours to remove."""
        return self.root / stage / f".damaged-{key}"

    def get(self, stage: str, key: str, spec: dict[str, Any], compute: Callable[[], Artifact]) -> tuple[Artifact, bool]:
        """The stored result, or else the computed and now stored one; and whether it was there already.

        While one process computes, others that want the same key wait for it.
        """
        found = self.read(stage, key)
        if found is not None:
            return found, True
        with self._lock(key):
            found = self._whole(stage, key)
            if found is not None:
                return found, True
            artifact = compute()
            self.write(stage, key, spec, artifact)
            return artifact, False

    def write(self, stage: str, key: str, spec: dict[str, Any], artifact: Artifact) -> None:
        """Put a result into its place, whole or not at all.

        Raises
        ------
        StoreError
            If the disk is full or cannot be written.
        """
        place = self.root / stage / key
        temporary = place.with_name(f".{key[:12]}-{uuid.uuid4().hex}")
        try:
            with writing(self.root):
                temporary.mkdir(parents=True)
                self._write(temporary, key, spec, artifact)
                self._place(temporary, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _write(self, temporary: Path, key: str, spec: dict[str, Any], artifact: Artifact) -> None:
        # clones, because safetensors refuses tensors that share memory
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in artifact.tensors.items()}
        safetensors.torch.save_file(tensors, temporary / PAYLOAD)
        written = {"written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
        (temporary / PROVENANCE).write_text(json.dumps(artifact.provenance | written, indent=1))
        # safetensors makes its file for its owner alone, whatever the umask says: others may share this store
        (temporary / PAYLOAD).chmod((temporary / PROVENANCE).stat().st_mode)
        checksums = {name: _sha256(temporary / name) for name in (PAYLOAD, PROVENANCE)}
        content = {"key": key, "spec": spec, "checksums": checksums, "spec_sha256": _spec_sha256(spec)}
        (temporary / SPEC).write_text(json.dumps(content, indent=1))

    def damage(self, stage: str, key: str) -> str:
        """What is wrong with a result that is there, or ""; an `OSError` is raised, as by `read`."""
        try:
            _load(self.folder(stage, key))
        except DAMAGED as error:
            return str(error) or type(error).__name__
        return ""

    def adopt(self, stage: str, key: str, folder: Path) -> bool:
        """Move a result that another store wrote into its place here; False, and nothing is moved, if it is damaged."""
        try:
            _load(folder)
        except DAMAGED:
            return False
        place = self.root / stage / key
        place.parent.mkdir(parents=True, exist_ok=True)
        self._place(folder, place)
        return True

    def remove(self, stage: str, key: str) -> None:
        """Remove a result, in one step, if it is still there."""
        aside = self.root / stage / f".{key[:12]}-{uuid.uuid4().hex}"
        with writing(self.root), contextlib.suppress(FileNotFoundError):
            (self.root / stage / key).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)  # what is left of it is removed with what killed writers left

    def size(self, stage: str, key: str) -> int:
        """Bytes of a result."""
        with os.scandir(self.folder(stage, key)) as files:
            return sum(file.stat().st_size for file in files)

    def _place(self, temporary: Path, place: Path) -> None:
        for _ in range(2):
            with contextlib.suppress(OSError):  # another writer was first: its result is as good
                temporary.rename(place)
            if (place / SPEC).is_file():
                return
            shutil.rmtree(place, ignore_errors=True)  # an interrupted removal left it without its spec
        raise OSError(f"{place}: expected to be able to write the result there")

    def check(self) -> None:
        """Raise a `StoreError` if nothing can be kept here."""
        with writing(self.root):
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # in a file system that has no such folders, such as /proc
                raise StoreError(f"{self.root}: expected a folder that can be made") from error
            tempfile.TemporaryFile(dir=self.root).close()

    def there(self, stage: str) -> set[str]:
        """Keys of all results of a stage, read from one list."""
        folders = (root / stage for root in (self.root, *self.caches))
        return {name for folder in folders if folder.is_dir() for name in os.listdir(folder) if not name.startswith(".")}

    def computing(self) -> set[str]:
        """What is being computed now, by this process or by others on this machine."""
        return {key for key, held in locks(self.root) if held}

    def abandoned(self) -> set[str]:
        """What was being computed by processes that died; each is told once, and what they left is removed."""
        found = {key for key, held in locks(self.root) if not held}
        for key in found:
            for folder in self.root.glob(f"*/.{key[:12]}-*"):
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # a store that is only read
                (self.root / LOCKS / f"{key}.lock").unlink()
        return found

    def keys(self, stage: str) -> list[str]:
        """Keys of all results of a stage."""
        place = self.root / stage
        names = os.listdir(place) if place.is_dir() else []
        return sorted(name for name in names if name[0] != "." and os.path.isfile(f"{place}/{name}/{SPEC}"))

    def spec(self, stage: str, key: str) -> dict[str, Any]:
        """What a key stands for; one of `DAMAGED` is raised where that cannot be told any more."""
        return dict(_content(self.folder(stage, key))["spec"])

    def _lock(self, key: str) -> contextlib.AbstractContextManager[None]:
        return locked(self.root, key)


def _content(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / SPEC).read_bytes())
    if content["key"] != folder.name or content.get("spec_sha256") not in (None, _spec_sha256(content["spec"])):
        raise ValueError(f"{SPEC} does not have its checksum")
    return content


def _load(folder: Path) -> Artifact:
    content = _content(folder)
    files = {name: (folder / name).read_bytes() for name in (PAYLOAD, PROVENANCE)}
    for name, found in files.items():
        if hashlib.sha256(found).hexdigest() != content["checksums"][name]:
            raise ValueError(f"{name} does not have its checksum")
    # not from the file, which would stay mapped: a process has some ten thousands of maps, and a study more results
    return Artifact(_tensors(files[PAYLOAD]), json.loads(files[PROVENANCE]))


def _tensors(payload: bytes) -> dict[str, Tensor]:
    """The tensors in the order in which they lie there: that of what was loaded differs from call to call."""
    header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
    found = safetensors.torch.load(payload)
    return {name: found[name] for name in sorted(found, key=lambda name: (header[name]["data_offsets"], name))}


def _spec_sha256(spec: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
