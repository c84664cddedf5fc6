"""Whatever happens to a sweep, killed processes, a full disk, damaged files: rerun, it ends with the tables of an undisturbed one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from cli_cases import STAGES, Bench
from safetensors import SafetensorError

from xaibench import store as store_module

KILLS = 20
GIVEN = (
    "-m",
    "model=linear,mlp",
    "explainer=gradient,input_x_gradient,integrated_gradients,occlusion,lime,random",
    "metric=deletion,insertion,sparseness,max_sensitivity",
)
CELLS = 2 * 6 * 4


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("undisturbed"))
    outcome = bench.run(*GIVEN)
    assert outcome.status == 0, outcome.out + outcome.err
    assert f"{CELLS} done" in outcome.out
    return bench


def same(bench: Bench, undisturbed: Bench) -> None:
    """The same tables, and the same store: nothing is missing, and nothing is left behind."""
    assert bench.tables() == undisturbed.tables()
    assert content(bench) == content(undisturbed)


def content(bench: Bench) -> set[str]:
    """What lies in the store, by name; a folder for locks or failures may be there, but must be empty."""
    paths = {path.relative_to(bench.store.root) for path in bench.store.root.rglob("*")}
    return {str(path) for path in paths} - {"locks", "failures"}


def swept(folder: Path) -> None:
    torch.set_num_threads(1)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        Bench(folder).run(*GIVEN)


def test_a_sweep_that_is_killed_twenty_times_ends_as_an_undisturbed_one(tmp_path, undisturbed):
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["xaibench.cli.sweep", "cli_cases"])
    draw, killed, bench = random.Random(0), 0, Bench(tmp_path)
    made = [0]
    for _ in range(200):
        if killed == KILLS:
            break
        process = processes.Process(target=swept, args=(tmp_path,))
        process.start()
        # Wait until it has written something more, so that the kills fall everywhere in the sweep.
        goal, deadline = min(made[-1] + draw.randrange(1, 6), CELLS), time.monotonic() + 60
        while process.is_alive() and results(bench) < goal and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.05)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
        made.append(results(bench))
    assert killed == KILLS
    assert made == sorted(made)  # no result is lost
    outcome = bench.run(*GIVEN)
    assert outcome.status == 0, outcome.out + outcome.err
    assert "damaged" not in outcome.out + outcome.err
    same(bench, undisturbed)


def results(bench: Bench) -> int:
    return sum(bench.made().values())


def test_a_full_disk_stops_a_sweep_with_its_reason_and_loses_nothing(tmp_path, undisturbed, monkeypatch):
    bench, written = Bench(tmp_path), []
    save = store_module.safetensors.torch.save_file

    def until_full(tensors, path):
        written.append(path)
        if len(written) == 12:  # the words are those of a file system of 220 KiB
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(store_module.safetensors.torch, "save_file", until_full)
        outcome = bench.run(*GIVEN)
    assert outcome.status == 2
    assert "No space left on device; make room and run again" in outcome.err
    assert "Traceback" not in outcome.err
    assert len(written) == 12  # nothing more was computed in vain
    assert results(bench) == 11
    assert bench.run(*GIVEN).status == 0
    same(bench, undisturbed)


def test_damaged_files_of_all_kinds_are_computed_again(tmp_path, undisturbed):
    bench, draw = Bench(tmp_path), random.Random(1)
    assert bench.run(*GIVEN).status == 0
    files = sorted(path for path in bench.store.root.rglob("*") if path.is_file())
    assert {path.name for path in files} == {"payload.safetensors", "spec.json", "provenance.json"}
    for number, path in enumerate(draw.sample(files, 40)):
        whole = path.read_bytes()
        at = draw.randrange(len(whole))
        flipped = whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
        path.write_bytes(flipped if number % 2 else whole[:at])
    outcome = bench.run(*GIVEN)
    assert outcome.status == 0, outcome.out + outcome.err
    assert "damaged result" in outcome.out + outcome.err
    assert all(not bench.store.damage(stage, key) for stage in bench.made() for key in bench.store.keys(stage))
    same(bench, undisturbed)


def test_a_store_that_can_only_be_read_serves_as_a_cache(tmp_path, undisturbed):
    bench, before = Bench(tmp_path), undisturbed.written()
    outcome = bench.run(*GIVEN, f"runtime.caches=[{undisturbed.store.root}]")
    assert outcome.status == 0, outcome.out + outcome.err
    assert f"0 done, {CELLS} cached" in outcome.out
    assert bench.tables() == undisturbed.tables()
    assert not any(bench.made().values())
    more = bench.run("model=mlp", "explainer=saliency", "metric=deletion", f"runtime.caches=[{undisturbed.store.root}]")
    assert more.status == 0, more.out + more.err
    assert bench.made() == {"train": 0, "predict": 0, "explain": 1, "evaluate": 1}  # the classifier is that of the cache
    assert undisturbed.written() == before


def test_what_is_damaged_in_a_cache_is_computed_again(tmp_path, undisturbed):
    cache, bench = Bench(tmp_path / "cache"), Bench(tmp_path / "own")
    shutil.copytree(undisturbed.store.root, cache.store.root)
    for stage in STAGES:
        key = cache.store.keys(stage)[0]
        (cache.store.folder(stage, key) / "payload.safetensors").write_bytes(b"")
    outcome = bench.run(*GIVEN, f"runtime.caches=[{cache.store.root}]")
    assert outcome.status == 0, outcome.out + outcome.err
    assert bench.tables() == undisturbed.tables()
    assert all(bench.made().values())


def test_a_store_that_cannot_be_written_is_told_before_anything_is_computed(tmp_path):
    (tmp_path / "store").write_text("a file where a folder should be")
    outcome = Bench(tmp_path).run("explainer=gradient", "metric=sparseness")
    assert outcome.status == 2
    assert "store" in outcome.err
    assert "expected a folder to write to" in outcome.err
    assert "runtime.caches=[FOLDER]" in outcome.err


def test_a_cache_that_is_not_there_is_an_error(tmp_path):
    outcome = Bench(tmp_path).run("explainer=gradient", "metric=sparseness", "runtime.caches=[/nowhere]")
    assert outcome.status == 2
    assert "runtime.caches=['/nowhere']: expected a list of folders that are there" in outcome.err
