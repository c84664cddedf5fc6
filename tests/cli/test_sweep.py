"""Real sweeps on the digits: results, a second run, a wiped store, and what a change recomputes."""

import html
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from cli_cases import SMALL, Bench

from xaibench.datasets.digits import Digits
from xaibench.report import gallery

SWEEP = ("explainer=gradient,saliency,random", "metric=deletion,sparseness")
CELLS = 6


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """One small sweep that other tests read, with what `plan` said before it."""
    bench = Bench(tmp_path_factory.mktemp("swept"))
    before = bench.counts(*SWEEP)
    outcome = bench.run(*SWEEP, "figures=[curves,maps,all_classes,learning_curves,confusion_matrix,gallery]", "-m")
    return bench, before, outcome


def test_a_sweep_leaves_tables_and_figures(swept):
    bench, _, outcome = swept
    assert outcome.status == 0, outcome.out + outcome.err
    folder = bench.results / "sweep"
    expected = {"table.csv", "table.md", "table.tex", "scores.parquet", "curves.parquet", "classifiers.csv", "cost.csv", "report.csv"}
    expected |= {"provenance.json", "maps.safetensors", "curves-deletion.png", "learning_curves.png", "confusion_matrix.png"}
    expected |= {"methods.csv", "gallery.safetensors", "report.html"}
    assert expected <= {path.name for path in folder.iterdir()}
    assert list(folder.glob("maps*.png"))
    assert all(path.stat().st_size for path in folder.iterdir())
    assert f"{CELLS} done, 0 cached, 0 skipped, 0 failed of {CELLS} cells" in outcome.out
    assert all(name in outcome.out for name in ("gradient", "saliency", "random", "deletion", "sparseness"))


def test_a_sweep_leaves_a_report_with_a_gallery_of_the_explained_images(swept):
    bench, _, outcome = swept
    folder = bench.results / "sweep"
    assert "report in " in outcome.out
    (found,) = gallery.load(folder)
    long = pd.read_parquet(folder / "scores.parquet").query("explainer == 'gradient' and score == 'value' and metric == 'sparseness'")
    for name, column in (("index", "index"), ("labels", "label"), ("predicted", "predicted")):
        assert found.about[name] == long[column].tolist()
    assert found.about["targets"] == [[target] for target in long["target"]]
    images = Digits().load().test.images[found.about["index"]]
    assert np.abs(found.images / 255 - images.numpy()).max() <= 0.5 / 255 + 1e-6
    assert {name: part.shape for name, part in found.maps.items()} == dict.fromkeys(["gradient", "random", "saliency"], (20, 1, 8, 8))
    assert (found.maps["saliency"] == np.abs(found.maps["saliency"])).all()
    methods = pd.read_csv(folder / "methods.csv").set_index("name")
    assert methods.loc["saliency", "what"].startswith("How strongly")
    assert methods.loc["saliency", "what"] in html.unescape((folder / "report.html").read_text(encoding="utf-8"))


def test_the_table_has_the_means_of_the_scores(swept):
    bench, *_ = swept
    long, table = pd.read_parquet(bench.results / "sweep" / "scores.parquet"), pd.read_csv(bench.results / "sweep" / "table.csv")
    names = ["explainer", "metric", "score"]
    means = long.astype(dict.fromkeys(names, str)).groupby(names)["value"].mean().to_dict()
    assert table.set_index(names)["mean"].to_dict() == pytest.approx(means, rel=1e-9)
    assert len(means) == 3 * 3  # deletion has two scores, sparseness one
    assert set(table["images"]) == {20}


def test_plan_tells_before_and_after(swept):
    bench, before, _ = swept
    assert before == {"train": (0, 1), "predict": (0, 1), "explain": (0, 3, 0), "evaluate": (0, CELLS, 0)}
    assert bench.counts(*SWEEP) == {"train": (1, 0), "predict": (1, 0), "explain": (3, 0, 0), "evaluate": (CELLS, 0, 0)}
    assert bench.made() == {"train": 1, "predict": 1, "explain": 3, "evaluate": CELLS}


def test_planned_passes_are_those_that_were_counted(swept):
    bench, *_ = swept
    cost = pd.read_csv(bench.results / "sweep" / "cost.csv")
    fresh = Bench(bench.folder / "elsewhere").plan(*SWEEP)
    for item in fresh:
        rows = cost[cost["explainer"] == item.cell.explainer.name]
        rows = rows[(rows["stage"] == "explain") | (rows["metric"] == item.cell.metric.name)]
        assert (rows["forward"].sum(), rows["backward"].sum()) == (item.passes.forward, item.passes.backward)


def test_plan_computes_nothing_and_lists_every_cell(bench):
    listed = bench("plan", *SWEEP, "--cells").out
    assert not bench.store.root.exists()
    assert not bench.results.exists()
    assert sum(line.startswith("to do ") for line in listed.splitlines()) == CELLS


def test_a_second_run_computes_nothing_and_gives_the_same_bytes(swept):
    bench, *_ = swept
    before, tables = bench.written(), bench.tables()
    outcome = bench.run("-m", *SWEEP)
    assert outcome.status == 0
    assert f"0 done, {CELLS} cached" in outcome.out
    assert bench.written() == before
    assert bench.tables() == tables


def test_a_wiped_store_gives_the_same_bytes_again(swept):
    bench, *_ = swept
    tables, before = bench.tables(), bench.written()
    shutil.rmtree(bench.store.root)
    assert bench.run("-m", *SWEEP).status == 0
    assert bench.tables() == tables
    assert bench.written().keys() == before.keys()
    assert bench.written() != before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("explainer=integrated_gradients", "explainer.steps=4"), {"train": (1, 0), "explain": (0, 1, 0), "evaluate": (0, 2, 0)}),
        (("explainer=gradient", "explainer.output=probability"), {"train": (1, 0), "explain": (0, 1, 0), "evaluate": (0, 2, 0)}),
        (("explainer=gradient", "metric.pooling=max"), {"train": (1, 0), "explain": (1, 0, 0), "evaluate": (0, 2, 0)}),
        (("explainer=gradient", "draw=1"), {"train": (1, 0), "explain": (0, 1, 0), "evaluate": (0, 2, 0)}),
        (("explainer=gradient", "seed=1"), {"train": (0, 1), "explain": (0, 1, 0), "evaluate": (0, 2, 0)}),
        (("explainer=gradient", "trainer.epochs=2"), {"train": (0, 1), "explain": (0, 1, 0), "evaluate": (0, 2, 0)}),
        (("explainer=gradient", "trainer=cpu"), {"train": (1, 0), "explain": (1, 0, 0), "evaluate": (2, 0, 0)}),
        (("explainer=gradient", "runtime.threads=2"), {"train": (1, 0), "explain": (1, 0, 0), "evaluate": (2, 0, 0)}),
        (("explainer=gradient", "explain_on.count=21"), {"train": (1, 0), "explain": (0, 1, 0), "evaluate": (0, 2, 0)}),
        (("explainer=gradient,saliency", "explainer.output=logit"), {"train": (1, 0), "explain": (2, 0, 0), "evaluate": (4, 0, 0)}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_change_recomputes_what_depends_on_it_and_nothing_else(swept, change, expected):
    bench, *_ = swept
    counts = bench.counts(SWEEP[1], *change)
    assert {stage: counts[stage] for stage in expected} == expected


def test_a_run_computes_just_what_was_planned_after_a_change(swept):
    bench, *_ = swept
    before, made = bench.written(), bench.made()
    assert bench.states(*SWEEP, "draw=0", "seed=0") == dict.fromkeys(bench.states(*SWEEP), "cached")
    outcome = bench.run("-m", *SWEEP, "draw=0,1", "study=draws")
    assert outcome.status == 0
    assert "6 done, 6 cached" in outcome.out
    assert bench.made() == made | {"explain": made["explain"] + 3, "evaluate": made["evaluate"] + 6}
    assert before.items() <= bench.written().items()


def test_every_configuration_has_its_own_row(bench):
    fields = ("explainer.steps=3,4", "metric.pooling=sum,abs_sum", "trainer.epochs=1,2")
    outcome = bench.run("-m", "explainer=integrated_gradients", "metric=deletion", *fields)
    assert outcome.status == 0, outcome.err
    table = pd.read_csv(bench.results / "sweep" / "table.csv")
    rows = set(table.loc[table["score"] == "value", ["trainer", "explainer", "metric"]].itertuples(index=False, name=None))
    assert rows == {
        (f"auto[epochs={epochs}]", f"integrated_gradients[steps={steps}]", f"deletion[pooling={pooling}]")
        for epochs in (1, 2)
        for steps in (3, 4)
        for pooling in ("sum", "abs_sum")
    }
    assert bench.made() == {"train": 2, "predict": 2, "explain": 4, "evaluate": 8}


def test_without_an_explainer_only_classifiers_are_trained_and_told_of(bench):
    outcome = bench.run("-m", "~explainer", "seed=0,1", "figures=[confusion_matrix]")
    assert outcome.status == 0, outcome.out + outcome.err
    assert bench.made() == {"train": 2, "predict": 2, "explain": 0, "evaluate": 0}
    found = pd.read_csv(bench.results / "sweep" / "classifiers.csv")
    assert list(found["seeds"]) == [2]
    assert list(found["images"]) == [540]
    counts = pd.read_csv(bench.results / "sweep" / "confusion.csv")
    assert counts["count"].sum() == 2 * 540
    right = counts.loc[counts["label"] == counts["predicted"], "count"].sum() / (2 * 540)
    assert found["accuracy"][0] == pytest.approx(right, rel=1e-5)


def test_a_study_runs_with_its_own_grid_and_folder(bench, out_of_tree):
    (out_of_tree.conf / "experiment").mkdir()
    content = "# @package _global_\nstudy: tiny\ntitle: A tiny study\nfigures: []\n"
    content += "grid:\n  explainer: [random, sobel]\n  metric: [sparseness]\n  seed: [0, 1]\nexplain_on: {count: 5}\n"
    (out_of_tree.conf / "experiment" / "tiny.yaml").write_text(content)
    given = (*out_of_tree.flags, "experiment=tiny", "figures=[]")
    small = Bench(bench.folder, tuple(text for text in SMALL if not text.startswith("explain_on.count")))
    assert small.run(*given).status == 0
    found = pd.read_parquet(small.results / "tiny" / "scores.parquet")
    assert set(found["explainer"]) == {"random", "sobel"}
    assert set(found["seed"]) == {0, 1}
    assert found["index"].nunique() == 5
    assert small.run(*given, "seed=1").status == 0
    assert set(pd.read_parquet(small.results / "tiny" / "scores.parquet")["seed"]) == {1}


def test_provenance_tells_where_the_numbers_come_from(swept):
    bench, *_ = swept
    found = json.loads((bench.results / "sweep" / "provenance.json").read_text())
    assert found["cells"] == CELLS
    assert found["seeds"] == [0]
    assert found["computed_with_threads"] == [1]
    assert found["written_by"]["versions"].keys() >= {"torch", "numpy", "captum", "shap"}
