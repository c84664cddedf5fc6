"""Keeping a store: what studies need of it, what is damaged, and results in one file that other machines take over."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import re
import shutil
import tarfile
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from xaibench.component import UserError
from xaibench.grid import Grid
from xaibench.identity import influence_key, predict_key
from xaibench.locks import LOCKS
from xaibench.planning import cells
from xaibench.store import FAILURES, Store

STAGES = ("train", "predict", "explain", "evaluate", "influence")
"""What studies consist of; other stages are those of programs that have no grid, and are kept."""

ABANDONED = 24 * 3600
"""Seconds after which a folder that is still being written counts as left behind."""

KEY = re.compile(r"[0-9a-f]{64}")
STAGE = re.compile(r"[a-z_]+")

Result = tuple[str, str]
"""Stage and key."""


@dataclass(frozen=True)
class Imported:
    """What came of an import: results that are new, that were there already, and that were damaged."""

    new: int
    known: int
    damaged: tuple[str, ...]


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
    """Of what is wanted all that the store has, with all that it was computed from."""
    found: set[Result] = set()
    left = list(wanted)
    while left:
        stage, key = left.pop()
        if (stage, key) not in found and store.has(stage, key):
            found.add((stage, key))
            left += [(_stage_of(name), parent) for name, parent in store.spec(stage, key).get("parents", {}).items()]
    return found


def _stage_of(parent: str) -> str:
    """A parent is named by its stage, or, if it is another network, by what that is for."""
    return parent if parent in STAGES else "train"


def unneeded(store: Store, wanted: Iterable[Result]) -> list[Result]:
    """What a store has of studies that none of the wanted results needs."""
    every = results(store)
    kept = needed(store, [*wanted, *((stage, key) for stage, key in every if stage not in STAGES)])
    return [result for result in every if result not in kept]


def abandoned(store: Store) -> list[Path]:
    """Folders that a killed process did not finish writing."""
    places = [*store.root.glob(".import-*"), *store.root.glob("*/.*")]
    return [path for path in places if path.is_dir() and time.time() - path.stat().st_mtime > ABANDONED]


def pack(store: Store, chosen: Iterable[Result], path: Path) -> None:
    """Write results into one tar file, compressed as its suffix says (.gz, .xz or none). The same results give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as raw, _compressed(raw, path.suffix) as stream, tarfile.open(fileobj=stream, mode="w") as file:
            for stage, key in sorted(chosen):
                for part in sorted(store.folder(stage, key).iterdir()):
                    file.add(part, f"{stage}/{key}/{part.name}", filter=_anonymous)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _compressed(raw: BinaryIO, suffix: str) -> contextlib.AbstractContextManager[Any]:
    if suffix == ".gz":
        return gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
    return lzma.LZMAFile(raw, "wb") if suffix == ".xz" else contextlib.nullcontext(raw)


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
        with tarfile.open(path) as file:
            file.extractall(temporary, members=(_checked(entry, path) for entry in file), filter="data")
        new, known, damaged = 0, 0, []
        for folder in sorted(temporary.glob("*/*")):
            stage, key = folder.parent.name, folder.name
            if store.has(stage, key):
                known += 1
            elif store.adopt(stage, key, folder):
                new += 1
            else:
                damaged.append(f"{stage}/{key}")
        return Imported(new, known, tuple(damaged))
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{path}: expected a tar file of results, as `xaibench store export` writes it ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _checked(entry: tarfile.TarInfo, path: Path) -> tarfile.TarInfo:
    parts = entry.name.split("/")
    if not (entry.isfile() and len(parts) == 3 and STAGE.fullmatch(parts[0]) and KEY.fullmatch(parts[1]) and parts[2][:1] != "."):
        raise UserError(f"{path}: expected files called STAGE/KEY/NAME, as `xaibench store export` writes them, got {entry.name}")
    return entry
