"""`xaibench store`: listing, verifying, pruning, and results that move to another store."""

import errno
import io
import os
import re
import shutil
import tarfile
import time
from pathlib import Path

import pytest
from cli_cases import Bench

from xaibench.cli import store as store_command

STUDY = """# @package _global_
study: kept
grid: {explainer: [gradient, sobel], metric: [deletion, f_fidelity], trainer.epochs: 1}
explain_on: {count: 6, background: 10}
runtime: {threads: 1, device: cpu}
figures: []
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with a study's results, and those of a command line that is no study."""
    folder = tmp_path_factory.mktemp("made")
    bench = Bench(folder, ())
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "kept.yaml").write_text(STUDY)
    assert bench.run("experiment=kept", "--config-dir", str(folder / "conf")).status == 0
    assert Bench(folder).run("-m", "explainer=saliency", "metric=deletion,insertion", "seed=1").status == 0
    return bench


@pytest.fixture
def own(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made.store.root, tmp_path / "store")
    shutil.copytree(made.folder / "conf", tmp_path / "conf")
    return Bench(tmp_path, ())


def call(bench, action, *given, status=0):
    places = ["--store", str(bench.store.root), "--config-dir", str(bench.folder / "conf")]
    outcome = bench.typed("store", action, *places, *map(str, given))
    assert outcome.status == status, outcome.out + outcome.err
    return outcome.err if status == 2 else outcome.out


def run(bench):
    outcome = bench.run("experiment=kept", "--config-dir", str(bench.folder / "conf"))
    assert outcome.status == 0, outcome.out
    return outcome.out


def flip(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_list_counts_results_and_bytes(own):
    found = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in call(own, "list").splitlines() if line.startswith("│")}
    assert found == {stage: str(count) for stage, count in own.made().items()} | {"all": str(sum(own.made().values()))}
    assert "killed" not in call(own, "list")


def test_verify_finds_what_is_damaged_and_what_is_removed_is_computed_again(own):
    before = own.made()
    assert f"{sum(before.values())} results, 0 damaged" in call(own, "verify")
    stage, key = "evaluate", own.store.keys("evaluate")[0]
    flip(own.store.folder(stage, key) / "payload.safetensors")
    told = call(own, "verify", status=1)
    assert f"damaged {stage}/{key}: payload.safetensors does not have its checksum" in told
    assert own.made() == before
    assert "1 damaged and removed" in call(own, "verify", "--remove", status=1)
    assert own.made() == before | {"evaluate": before["evaluate"] - 1}
    assert "0 damaged" in call(own, "verify")


def test_prune_keeps_what_studies_need_and_what_that_was_computed_from(own):
    before = own.made()
    # The other command line has a classifier of its own, an explanation and two scores.
    told = " ".join(call(own, "prune", "--all-but", "kept").split())
    assert f"5 of {sum(before.values())} results are needed by none of kept: 2 evaluate, 1 explain, 1 predict, 1 train" in told
    assert "--yes" in told
    assert own.made() == before
    assert "removed 5 results" in call(own, "prune", "--all-but", "kept", "--yes")
    assert own.made() == {"train": before["train"] - 1, "predict": 1, "explain": 2, "evaluate": 4}
    written = own.written()
    assert "0 done, 4 cached" in run(own)
    assert own.written() == written
    assert "0 of" in call(own, "prune", "--all-but", "kept")


def test_prune_removes_no_result_unless_told_what_stays(own):
    """Those of the command line belong to no study, and are as good."""
    before = own.made()
    assert "all results stay; --all-but STUDY... removes" in call(own, "prune", "--yes")
    assert own.made() == before
    with pytest.raises(SystemExit):
        call(own, "prune", "kept", "--yes")


def test_results_of_the_command_line_are_exported_with_all(own, tmp_path):
    before = own.made()
    call(own, "export", tmp_path / "all.tar.xz", "--all")
    other = Bench(tmp_path / "other", ())
    (other.folder / "conf").mkdir(parents=True)
    call(other, "import", tmp_path / "all.tar.xz")
    assert other.made() == before
    shutil.rmtree(own.store.root / "evaluate")
    shutil.rmtree(own.store.root / "explain")
    assert "expected either" in call(own, "export", tmp_path / "x.tar", "kept", "--all", status=2)
    assert "--all takes also what belongs to none" in call(own, "export", tmp_path / "x.tar", "quickstart", status=2)


def test_a_damaged_spec_is_told_and_counts_as_absent(own, tmp_path):
    key = next(key for key in own.store.keys("explain") if "Sobel" in str(own.store.spec("explain", key)["component"]))
    path = own.store.folder("explain", key) / "spec.json"
    path.write_bytes(path.read_bytes()[:50])
    places = ["--store", str(own.store.root), "--config-dir", str(own.folder / "conf")]
    exported = own.typed("store", "export", *places, str(tmp_path / "results.tar"), "kept")
    pruned = own.typed("store", "prune", *places, "--all-but", "kept", "--yes")
    for outcome in (exported, pruned):
        assert outcome.status == 0
        assert outcome.err.count(f"damaged result explain/{key}") == 1
    assert "removed 6 results" in pruned.out  # it, and those of the command line
    assert f"{sum(own.made().values())} results in" in exported.out
    assert "0 done, 4 cached" in run(own)


def test_what_cannot_be_read_is_told_and_stays(own, monkeypatch):
    before = own.made()

    def refuse(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        told = call(own, "verify", "--remove", status=1)
    assert f"0 damaged, {sum(before.values())} cannot be read" in told
    assert own.made() == before


def test_a_long_command_tells_how_far_it_is(own, monkeypatch):
    monkeypatch.setattr(store_command, "FIRST_LINE", 0.0)
    assert f"verify: 0 of {sum(own.made().values())}" in call(own, "verify")
    told = call(own, "prune", "--all-but", "kept", "--yes")
    assert all(f"{step}: 0 of " in told for step in ("studies", "needed", "sizes", "prune"))


def test_prune_removes_old_folders_of_killed_writers_only(own):
    old, new = (own.store.root / "explain" / f".{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    assert "1 folders of writers that were killed" in call(own, "list")
    call(own, "prune", "--yes")
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.xz"])
def test_results_move_to_another_store(made, own, tmp_path, suffix):
    file = tmp_path / f"results.{suffix}"
    told = call(own, "export", file, "kept")
    first = file.read_bytes()
    assert first[:4] == {"tar": b"././", "tar.xz": b"\xfd7zX"}.get(suffix, b"\x1f\x8b\x08\x00")
    for path in own.store.root.glob("*/*/*"):
        os.utime(path, (0, 10**9))
    call(own, "export", file, "kept")
    assert file.read_bytes() == first
    other = Bench(tmp_path / "other", ())
    shutil.copytree(own.folder / "conf", other.folder / "conf")
    count = int(told.split()[0])
    assert f"{count} new results" in call(other, "import", file)
    assert f"0 new results in {other.store.root}; {count} were there" in " ".join(call(other, "import", file).split())
    assert "0 done, 4 cached" in run(other)
    assert other.tables("kept")["table.csv"] == (made.results / "kept" / "table.csv").read_bytes()
    assert not list(other.store.root.glob(".import-*"))


def test_stores_merge(own, tmp_path):
    file = tmp_path / "results.tar"
    call(own, "export", file, "kept")
    before = own.made()
    key = own.store.keys("explain")[0]
    shutil.rmtree(own.store.folder("explain", key))
    call(own, "import", file)
    assert own.made() in (before, before | {"explain": before["explain"] - 1})  # unless it was the other command line's


def test_damaged_results_are_not_imported(own, tmp_path):
    call(own, "export", tmp_path / "results.tar", "kept")
    with tarfile.open(tmp_path / "results.tar") as old, tarfile.open(tmp_path / "new.tar", "w") as new:
        for entry in old:
            content = bytearray(old.extractfile(entry).read())
            if entry.name.startswith("predict/") and entry.name.endswith("payload.safetensors"):
                content[-1] ^= 1
            new.addfile(entry, io.BytesIO(bytes(content)))
    other = Bench(tmp_path / "other", ())
    (other.folder / "conf").mkdir(parents=True)
    told = call(other, "import", tmp_path / "new.tar", status=1)
    assert "damaged, and left out: predict/" in told
    assert other.made()["predict"] == 0
    assert other.made()["evaluate"] == 4


def test_every_result_of_a_damaged_file_is_accounted_for(own, tmp_path):
    """A damaged header is where a tar file ends for who reads it."""
    call(own, "export", tmp_path / "results.tar", "kept")
    content, count = bytearray((tmp_path / "results.tar").read_bytes()), sum(own.made().values()) - 5
    with tarfile.open(tmp_path / "results.tar") as file:
        entry = next(entry for entry in file if entry.name.startswith("predict/") and entry.name.endswith("provenance.json"))
    content[entry.offset + 20] ^= 1
    (tmp_path / "flipped.tar").write_bytes(content)
    other = Bench(tmp_path / "other", ())
    (other.folder / "conf").mkdir(parents=True)
    told = " ".join(call(other, "import", tmp_path / "flipped.tar", status=1).split())
    assert f"{count - 3} new results" in told
    assert "1 are damaged, 2 cannot be read: the file is damaged" in told


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.xz"])
def test_a_damaged_compressed_file_is_told(own, tmp_path, suffix):
    call(own, "export", tmp_path / f"results.{suffix}", "kept")
    flip(tmp_path / f"results.{suffix}", 2000)
    outcome = own.typed("store", "import", "--store", str(tmp_path / "other"), str(tmp_path / f"results.{suffix}"))
    assert outcome.status
    told = re.search(r"(\d+) new .* (\d+) were there, (\d+) are damaged(?:, (\d+) cannot be read)?", " ".join(outcome.out.split()))
    count = sum(own.made().values()) - 5  # without those of the command line
    assert "expected a tar file of results" in outcome.err or sum(int(number or 0) for number in told.groups()) == count


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "train/short/spec.json", f"train/{'0' * 64}/../../outside", "train"])
def test_other_files_are_refused(own, tmp_path, name):
    before = own.written()
    with tarfile.open(tmp_path / "bad.tar", "w") as file:
        file.addfile(tarfile.TarInfo(name))
    assert "expected files called STAGE/KEY/NAME" in call(own, "import", tmp_path / "bad.tar", status=2)
    (tmp_path / "text.tar").write_text("no tar file")
    assert "expected a tar file of results" in call(own, "import", tmp_path / "text.tar", status=2)
    link = tarfile.TarInfo(f"train/{'0' * 64}/spec.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "link.tar", "w") as file:
        file.addfile(link)
    assert "expected files called" in call(own, "import", tmp_path / "link.tar", status=2)
    assert own.written() == before


def test_mistakes(own, tmp_path):
    assert "expected one of" in call(own, "prune", "--all-but", "no_such_study", status=2)
    assert "expected a tar file" in call(own, "import", tmp_path / "absent.tar", status=2)
    empty = Bench(tmp_path / "empty", ())
    (empty.folder / "conf").mkdir(parents=True)
    assert "expected a folder" in call(empty, "list", status=2)
    for name in ("x.zip", "x", "x.gz"):
        assert "expected a name that ends in .tar, .tar.gz, .tgz, .tar.xz" in call(own, "export", tmp_path / name, "kept", status=2)
    (tmp_path / "x.tar").touch()
    nowhere = own.typed("store", "import", "--store", "/proc/x", str(tmp_path / "x.tar"))
    assert (nowhere.status, "/proc/x: expected a folder that can be made" in nowhere.err) == (2, True)
    (tmp_path / "x.tar").unlink()
    empty.store.root.mkdir()
    assert "there are none" in call(empty, "export", tmp_path / "x.tar", "quickstart", status=2)
    assert not (tmp_path / "x.tar").exists()
