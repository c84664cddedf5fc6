from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import stat
from pathlib import Path

import filelock
import pytest
import safetensors.torch
import torch

from xaibench.locks import held
from xaibench.store import PAYLOAD, PROVENANCE, SPEC, Artifact, Store

KEY = hashlib.sha256(b"a key").hexdigest()
WHAT = {"stage": "explain", "component": {"steps": 50, "share": 0.1}, "parents": {}}


def artifact() -> Artifact:
    return Artifact(
        {"values.a": torch.arange(12.0).reshape(3, 4), "values.b": torch.ones(2), "index": torch.tensor([3, 5, 9])}, {"seconds": 1.5}
    )


def never() -> Artifact:
    raise AssertionError("computed again")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def stored(store: Store) -> Path:
    store.write("explain", KEY, WHAT, artifact())
    return store.folder("explain", KEY)


def files(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


def test_a_damaged_result_of_a_cache_counts_as_absent_and_is_left_there(store, tmp_path):
    cache = Store(tmp_path / "cache")
    place = stored(cache)
    both = Store(store.root, (cache.root,))
    assert both.has("explain", KEY)
    (place / PAYLOAD).write_bytes(b"")
    assert both.read("explain", KEY) is None
    assert not Store(store.root, (cache.root,)).has("explain", KEY)  # other processes know
    assert place.is_dir()
    both.write("explain", KEY, WHAT, artifact())
    assert both.read("explain", KEY) is not None
    assert both.keys("explain") == [KEY]


def test_locks_are_looked_at_without_making_any(store):
    places = store.root / "locks"
    places.mkdir(parents=True)
    with pytest.raises(FileNotFoundError):
        held(places / "gone.lock")
    assert not list(places.iterdir())
    stale = places / "stale.lock"
    stale.touch(mode=0o444)
    assert not held(stale)
    with filelock.FileLock(places / "held.lock"):
        assert held(places / "held.lock")
        assert store.computing() == {"held"}
        assert store.abandoned() == {"stale"}


def test_what_is_written_is_read(store):
    stored(store)
    found = store.read("explain", KEY)
    assert found is not None
    assert {name: value.tolist() for name, value in found.tensors.items()} == {
        name: value.tolist() for name, value in artifact().tensors.items()
    }
    assert found.provenance["seconds"] == 1.5
    assert list(found.group("values")) == ["a", "b"]
    assert store.spec("explain", KEY) == WHAT
    assert store.keys("explain") == [KEY]
    assert store.keys("train") == []
    assert not store.has("train", KEY)
    assert files(store) == [f"explain/{KEY}/{name}" for name in sorted((PAYLOAD, PROVENANCE, SPEC))]


def test_get_computes_once_and_leaves_no_lock(store):
    found, cached = store.get("explain", KEY, WHAT, artifact)
    assert not cached
    again, cached = store.get("explain", KEY, WHAT, never)
    assert cached
    assert all(torch.equal(again.tensors[name], found.tensors[name]) for name in found.tensors)
    assert [name for name in files(store) if "lock" in name] == []


def test_a_failed_computation_stores_nothing_and_leaves_no_lock(store):
    with pytest.raises(AssertionError, match="computed again"):
        store.get("explain", KEY, WHAT, never)
    assert files(store) == []
    assert store.get("explain", KEY, WHAT, artifact)[1] is False


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flipped(where: int):
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[where] ^= 1
        path.write_bytes(bytes(content))

    return flip


def flipped_value(path: Path) -> None:
    text = path.read_text()
    assert '"steps": 50' in text
    path.write_text(text.replace('"steps": 50', '"steps": 51'))


def listed(path: Path) -> None:
    path.write_text("[]")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE = [
    *((PAYLOAD, damage) for damage in (truncated, flipped(0), flipped(-1), flipped(100), emptied, Path.unlink)),
    *((SPEC, damage) for damage in (truncated, flipped(0), flipped(3), flipped(20), flipped_value, listed, emptied)),
    *((PROVENANCE, damage) for damage in (truncated, flipped(5), Path.unlink)),
]


@pytest.mark.parametrize(("file", "damage"), DAMAGE)
def test_a_damaged_result_is_said_aloud_and_computed_again(store, caplog, file, damage):
    damage(stored(store) / file)
    with caplog.at_level(logging.WARNING):
        found, cached = store.get("explain", KEY, WHAT, artifact)
    assert not cached
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "damaged result explain/" + KEY[:12] in caplog.text
    assert torch.equal(found.tensors["index"], artifact().tensors["index"])
    assert store.get("explain", KEY, WHAT, never)[1]


def test_every_flipped_bit_of_the_spec_is_noticed_and_never_raises(store):
    """One bit in every byte of the file that says that a result is there."""
    folder = stored(store)
    whole = {name: (folder / name).read_bytes() for name in (PAYLOAD, PROVENANCE, SPEC)}
    content = json.loads(whole[SPEC])
    unnoticed = 0
    for place in range(0, len(whole[SPEC]), 3):
        damaged = bytearray(whole[SPEC])
        damaged[place] ^= 1 << place % 7
        folder.mkdir(exist_ok=True)
        for name, data in whole.items():
            (folder / name).write_bytes(bytes(damaged) if name == SPEC else data)
        found = store.read("explain", KEY)
        if found is not None:
            unnoticed += 1
            read = json.loads(bytes(damaged))
            assert {name: read[name] for name in ("key", "spec", "checksums")} == {
                name: content[name] for name in ("key", "spec", "checksums")
            }
    assert unnoticed < len(whole[SPEC]) / 3 * 0.2  # white space, and the name of the spec's own checksum


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES])
def test_what_cannot_be_read_now_is_raised_and_stays(store, monkeypatch, number):
    stored(store)

    def refuse(path):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        for call in (lambda: store.read("explain", KEY), lambda: store.get("explain", KEY, WHAT, never)):
            with pytest.raises(OSError, match=os.strerror(number)):
                call()
    assert store.get("explain", KEY, WHAT, never)[1]
    assert store.read("explain", KEY) is not None


def test_what_another_process_repaired_meanwhile_is_not_removed(store, monkeypatch):
    """The damage was seen before the lock could be had: another process held it, and wrote the result anew."""
    emptied(stored(store) / PAYLOAD)
    lock = Store._lock

    def after_a_repair(self, key):
        shutil.rmtree(self.folder("explain", key))
        stored(self)
        return lock(self, key)

    monkeypatch.setattr(Store, "_lock", after_a_repair)
    assert store.read("explain", KEY) is not None
    assert store.has("explain", KEY)


def test_a_result_in_the_wrong_place_is_a_miss(store, caplog):
    other = "0" * 64
    stored(store).rename(store.folder("explain", other))
    assert store.read("explain", other) is None
    assert "damaged result" in caplog.text


@pytest.mark.parametrize("left", [[], [PAYLOAD], [PAYLOAD, PROVENANCE]])
def test_a_folder_without_its_spec_is_a_miss_and_is_replaced(store, left):
    folder = stored(store)
    for name in {PAYLOAD, PROVENANCE, SPEC} - set(left):
        (folder / name).unlink()
    assert not store.has("explain", KEY)
    assert store.keys("explain") == []
    assert store.get("explain", KEY, WHAT, artifact)[1] is False
    assert store.get("explain", KEY, WHAT, never)[1]


def test_a_result_written_before_the_spec_had_a_checksum_is_read(store):
    path = stored(store) / SPEC
    content = json.loads(path.read_text())
    del content["spec_sha256"]
    path.write_text(json.dumps(content))
    assert store.read("explain", KEY) is not None


def test_the_loser_of_a_race_discards_its_own(store):
    def while_another_finishes() -> Artifact:
        stored(store)
        return Artifact({"values.a": torch.zeros(1)})

    store.get("explain", KEY, WHAT, while_another_finishes)
    found = store.read("explain", KEY)
    assert found is not None
    assert torch.equal(found.tensors["values.a"], artifact().tensors["values.a"])
    assert files(store) == [f"explain/{KEY}/{name}" for name in sorted((PAYLOAD, PROVENANCE, SPEC))]
    assert [path.name for path in (store.root / "explain").iterdir()] == [KEY]


def test_a_store_that_cannot_be_written_says_so_and_leaves_nothing(store, monkeypatch):
    def refuse(self, target):
        raise OSError("read-only")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="expected to be able to write the result there"):
        store.write("explain", KEY, WHAT, artifact())
    assert list((store.root / "explain").iterdir()) == []


def test_all_kinds_of_tensors_survive(store):
    torch.manual_seed(0)
    base = torch.rand(4, 6)
    tensors = {
        "transposed": base.T,
        "strided": base[:, ::2],
        "expanded": torch.ones(1, 3).expand(5, 3),
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "bool": base > 0.5,
        "int64": torch.tensor([2**62 + 1, -5]),
        "float64": torch.tensor([1 / 3], dtype=torch.float64),
        "bfloat16": base.bfloat16(),
        "not_a_number": torch.tensor([float("nan"), float("inf"), -0.0]),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "shared": base,
        "part of shared": base[:2],
        "parameter": torch.nn.Parameter(torch.rand(3)),
    }
    store.write("explain", KEY, WHAT, Artifact(tensors))
    found = store.read("explain", KEY)
    assert found is not None
    assert set(found.tensors) == set(tensors)
    for name, value in tensors.items():
        assert found.tensors[name].dtype == value.dtype
        torch.testing.assert_close(found.tensors[name], value.detach(), rtol=0, atol=0, equal_nan=True)
        assert found.tensors[name].is_contiguous()


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700)])
def test_others_may_read_what_the_umask_allows(store, umask, file, folder):
    before = os.umask(umask)
    try:
        place = stored(store)
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == folder
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {file}


def test_processes_without_locks_still_leave_one_whole_result(store, monkeypatch):
    """Correctness does not depend on locks: two writers that know nothing of each other."""
    monkeypatch.setattr(Store, "_lock", lambda self, key: contextlib.nullcontext())

    def compute() -> Artifact:
        store.get("explain", KEY, WHAT, artifact)
        return artifact()

    assert store.get("explain", KEY, WHAT, compute)[1] is False
    assert store.get("explain", KEY, WHAT, never)[1]
    assert [path.name for path in (store.root / "explain").iterdir()] == [KEY]


def test_the_payload_is_plain_safetensors(store):
    found = safetensors.torch.load_file(stored(store) / PAYLOAD)
    assert torch.equal(found["index"], artifact().tensors["index"])
