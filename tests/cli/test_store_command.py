"""`xaibench store`: listing, verifying, pruning, and results that move to another store."""

import io
import os
import shutil
import tarfile
import time

import pytest
from cli_cases import Bench

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
    told = call(own, "prune", "kept")
    assert f"5 of {sum(before.values())} results are needed by none" in told
    assert "--yes" in told
    assert own.made() == before
    assert "removed 5 results" in call(own, "prune", "kept", "--yes")
    assert own.made() == {"train": before["train"] - 1, "predict": 1, "explain": 2, "evaluate": 4}
    written = own.written()
    assert "0 done, 4 cached" in run(own)
    assert own.written() == written
    assert "0 of" in call(own, "prune", "kept")


def test_prune_removes_old_folders_of_killed_writers_only(own):
    old, new = (own.store.root / "explain" / f".{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    assert "1 folders of writers that were killed" in call(own, "list")
    call(own, "prune", "kept", "--yes")
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz"])
def test_results_move_to_another_store(made, own, tmp_path, suffix):
    file = tmp_path / f"results.{suffix}"
    told = call(own, "export", file, "kept")
    first = file.read_bytes()
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
    assert "expected one of" in call(own, "prune", "no_such_study", status=2)
    assert "expected a tar file" in call(own, "import", tmp_path / "absent.tar", status=2)
    empty = Bench(tmp_path / "empty", ())
    (empty.folder / "conf").mkdir(parents=True)
    assert "expected a folder" in call(empty, "list", status=2)
    empty.store.root.mkdir()
    assert "there are none" in call(empty, "export", tmp_path / "x.tar", "quickstart", status=2)
    assert not (tmp_path / "x.tar").exists()
