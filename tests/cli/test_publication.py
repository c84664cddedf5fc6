"""What a study's folder holds: what its last run wrote, for everybody to read, and nothing else."""

import json
import os
import stat

import numpy as np
import pandas as pd
import pytest

from xaibench import classifiers
from xaibench.publish import drawn
from xaibench.report.page import write


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_folder_holds_the_last_run_alone(bench):
    figures = "figures=[curves,maps,comparison,ranking,gallery]"
    assert bench.run("-m", "model=linear", "explainer=gradient,random", "metric=deletion,insertion", figures).status == 0
    folder = bench.results / "sweep"
    (folder / "notes.txt").write_text("mine")
    assert {"comparison.parquet", "curves-insertion.png", "gallery.safetensors", "maps.png", "ranking-deletion.png"} <= names(folder)
    assert bench.run("model=linear", "explainer=saliency", "metric=deletion", "figures=[ranking]").status == 0
    left = names(folder)
    assert not [name for name in left if name.startswith(("comparison", "curves-", "gallery", "maps", "standings", "critical"))]
    assert {"notes.txt", "ranking-deletion.png", "table.csv", "report.html"} <= left
    assert json.loads((folder / "provenance.json").read_text())["files"] == sorted(left - {"notes.txt", "provenance.json", "report.html"})
    assert "random" not in set(pd.read_csv(folder / "table.csv")["explainer"])
    assert b'"insertion"' not in write(folder, bench.folder).read_bytes()


def test_figures_that_were_not_noted_are_those_that_are_there(tmp_path):
    known = ("curves", "maps", "ranking", "by_class", "comparison")
    for name in ("provenance.json", "curves.parquet", "table.md", "ranking-deletion.png", "comparison.md"):
        (tmp_path / name).write_text("{}")
    assert drawn(tmp_path, known) == ("ranking", "comparison", "pictures")
    (tmp_path / "provenance.json").write_text('{"figures": ["maps"]}')
    assert drawn(tmp_path, known) == ("maps", "pictures")


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_others_can_read_what_the_umask_allows(bench, mask):
    before = os.umask(mask)
    try:
        assert bench.run("explainer=gradient", "metric=sparseness", "figures=[maps,gallery]").status == 0
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (bench.results / "sweep").iterdir()}
    assert set(modes.values()) == {0o666 & ~mask}, modes


@pytest.mark.parametrize("group", ["explainer", "metric", "model"])
def test_a_glob_that_matches_nothing_is_refused(bench, group):
    given = {"explainer": "explainer=gradient", "metric": "metric=deletion", "model": "model=linear"} | {group: f"{group}=glob(nothing*)"}
    outcome = bench.run("-m", *given.values())
    assert outcome.status == 2
    assert f"{group}=glob(nothing*): expected at least one match; there is " in outcome.err


@pytest.mark.parametrize("rights", [19, 1])
def test_an_accuracy_is_a_share_and_so_are_the_ends_of_its_interval(monkeypatch, rights):
    right = np.arange(20) < rights
    group = ({"dataset": "d", "model": "m", "trainer": "t"}, [right.astype(float)], 1, [0.9])
    monkeypatch.setattr(classifiers, "_grouped", lambda results: [group])
    found = classifiers.accuracy(None, {}).iloc[0]
    assert 0 <= found["low"] <= rights / 20 <= found["high"] <= 1
