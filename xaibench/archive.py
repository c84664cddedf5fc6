"""Keeping a store: what studies need of it, what is damaged, and results in one file that other machines take over."""

from __future__ import annotations

import contextlib
import gzip
import logging
import lzma
import re
import shutil
import tarfile
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from xaibench.component import UserError
from xaibench.disk import writing
from xaibench.grid import Grid
from xaibench.identity import influence_key, predict_key
from xaibench.locks import LOCKS
from xaibench.planning import cells
from xaibench.store import DAMAGED, FAILURES, Store

STAGES = ("train", "predict", "explain", "evaluate", "influence")
"""What studies consist of; other stages are those of programs that have no grid, and are kept."""

ABANDONED = 24 * 3600
"""Seconds after which a folder that is still being written counts as left behind."""

KEY = re.compile(r"[0-9a-f]{64}")
STAGE = re.compile(r"[a-z_]+")

SUFFIXES = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".tar.xz": "xz"}
"""How tar files are called, and compressed."""

COUNT = "xaibench.results"
"""The header of a tar file that says how many results it has."""

Result = tuple[str, str]
"""Stage and key."""

Track = Callable[[list[Result]], Iterable[Result]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """What came of an import: results that are new, that were there already, that were damaged, and that could not be found any more."""

    new: int
    known: int
    damaged: tuple[str, ...]
    lost: int


def results(store: Store) -> list[Result]:
    """Everything in a store, stage by stage."""
    stages = sorted(path.name for path in store.root.glob("[!.]*") if path.is_dir() and path.name not in (LOCKS, FAILURES))
    return [(stage, key) for stage in stages for key in store.keys(stage)]


def roots(grid: Grid) -> Iterator[Result]:
    """What a study shows: its classifiers, analyses, explanations and scores."""
    for training in grid.trainings():
        yield "predict", predict_key(training)[0]
    for training, entry in grid.analyses():
        yield "influence", influence_key(training, entry.component)[0]
    for cell in cells(grid):
        yield "explain", cell.explaining.key
        yield "evaluate", cell.key


def needed(store: Store, wanted: Iterable[Result]) -> set[Result]:
    """Of what is wanted all that the store has, with all that it was computed from; what is damaged is told, and counts as absent."""
    found: set[Result] = set()
    damaged: set[Result] = set()
    for result in wanted:
        left = [result]
        while left:
            stage, key = left.pop()
            if (stage, key) in found or (stage, key) in damaged or not store.has(stage, key):
                continue
            try:
                left += [(_stage_of(name), parent) for name, parent in store.spec(stage, key).get("parents", {}).items()]
                found.add((stage, key))
            except DAMAGED as error:
                log.warning("damaged result %s/%s (%s): it counts as absent", stage, key, error)
                damaged.add((stage, key))
    return found


def _stage_of(parent: str) -> str:
    """A parent is named by its stage, or, if it is another network, by what that is for."""
    return parent if parent in STAGES else "train"


def unneeded(store: Store, wanted: Iterable[Result]) -> list[Result]:
    """What a store has of studies, or of command lines alone, that none of the wanted results needs."""
    every = results(store)
    kept = needed(store, [*wanted, *((stage, key) for stage, key in every if stage not in STAGES)])
    return [result for result in every if result not in kept]


def abandoned(store: Store) -> list[Path]:
    """Folders that a killed process did not finish writing."""
    places = [*store.root.glob(".import-*"), *store.root.glob("*/.*")]
    return [path for path in places if path.is_dir() and time.time() - path.stat().st_mtime > ABANDONED]


def compression(path: Path) -> str:
    """How a tar file of this name is compressed: gz, xz, or "".

    Raises
    ------
    UserError
        If the name does not say that it is a tar file.
    """
    for suffix, found in SUFFIXES.items():
        if path.name.endswith(suffix):
            return found
    raise UserError(f"file={path}: expected a name that ends in {', '.join(SUFFIXES)}")


def pack(store: Store, chosen: Collection[Result], path: Path, track: Track = iter) -> None:
    """Write results into one tar file, compressed as its name says. The same results give the same bytes.

    Parameters
    ----------
    track
        Shows how far it is: gives the results on, one by one.

    Raises
    ------
    UserError
        If the name does not say that it is a tar file.
    """
    packed, count = compression(path), {COUNT: str(len(chosen))}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with (
            temporary.open("wb") as raw,
            _compressed(raw, packed) as stream,
            tarfile.open(fileobj=stream, mode="w", pax_headers=count) as file,
        ):
            for stage, key in track(sorted(chosen)):
                for part in sorted(store.folder(stage, key).iterdir()):
                    file.add(part, f"{stage}/{key}/{part.name}", filter=_anonymous)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _compressed(raw: BinaryIO, packed: str) -> contextlib.AbstractContextManager[Any]:
    if packed == "gz":
        return gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
    return lzma.LZMAFile(raw, "wb") if packed == "xz" else contextlib.nullcontext(raw)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry


def unpack(store: Store, path: Path) -> Imported:
    """Take over the results of a tar file; those that the store has stay as they are, and damaged ones are left out.

    Raises
    ------
    UserError
        If the file is no tar file of results.
    """
    temporary = store.root / f".import-{uuid.uuid4().hex}"
    try:
        with writing(store.root), tarfile.open(path) as file:
            file.extractall(temporary, members=(_checked(entry, path) for entry in file), filter="data")
            count = int(file.pax_headers.get(COUNT, 0))
        new, known, damaged = 0, 0, []
        for folder in sorted(temporary.glob("*/*")):
            stage, key = folder.parent.name, folder.name
            if store.has(stage, key):
                known += 1
            elif store.adopt(stage, key, folder):
                new += 1
            else:
                damaged.append(f"{stage}/{key}")
        # tarfile takes a damaged header for the end of the file
        return Imported(new, known, tuple(damaged), max(0, count - new - known - len(damaged)))
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path}: expected a tar file of results, as `xaibench store export` writes it ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _checked(entry: tarfile.TarInfo, path: Path) -> tarfile.TarInfo:
    parts = entry.name.split("/")
    if not (entry.isfile() and len(parts) == 3 and STAGE.fullmatch(parts[0]) and KEY.fullmatch(parts[1]) and parts[2][:1] != "."):
        raise UserError(f"{path}: expected files called STAGE/KEY/NAME, as `xaibench store export` writes them, got {entry.name}")
    return entry
