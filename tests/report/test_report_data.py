"""What the report's parts hold: the numbers of the study's files."""

import numpy as np
import pandas as pd
import pytest
from report_cases import EXPLAINERS, METRICS, make, scores, study
from scipy import stats

from xaibench.report import charts
from xaibench.report.classifiers import accuracies, reports
from xaibench.report.leaderboard import BEST, CLEAR, boards, leaders
from xaibench.report.methods import Method, methods
from xaibench.report.sheets import claims, provenance, sheets
from xaibench.report.summary import summary
from xaibench.tables.aggregate import aggregate, write
from xaibench.tables.blocks import plain
from xaibench.tables.layout import Layout, blocks


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "study")


def cells(board, found):
    """Cells by (explainer, metric)."""
    explainers, metrics = list(found.explainers), list(found.metrics)
    return {
        (explainers[row], metrics[board["metrics"][place]]): cell for row, own in board["rows"] for place, cell in enumerate(own) if cell
    }


def test_the_leaderboard_has_the_numbers_of_the_table(folder):
    found = study(folder)
    (board,) = boards(found)
    table = pd.read_csv(folder / "table.csv").set_index(["explainer", "metric"])
    own = cells(board, found)
    assert set(own) == set(table.index)
    assert {place: cell[0] for place, cell in own.items()} == table["mean"].to_dict()
    (block,) = blocks(aggregate(pd.read_parquet(folder / "scores.parquet")), Layout(width=None))
    shown = [(row.head, head, cell) for row in block.rows for cell, head in zip(row.cells, block.columns, strict=True)]
    texts = {(row.names[0], head.names[0]): plain(cell) for row, head, cell in shown}
    assert {place: cell[1] for place, cell in own.items()} == texts


def test_best_and_clear_of_the_best_control(folder):
    (board,), found = boards(study(folder)), study(folder)
    own = cells(board, found)
    assert [name for name, cell in own.items() if cell[2] & BEST] == [("saliency", "deletion"), ("saliency", "insertion")]
    assert own["gradient", "deletion"][2] == CLEAR  # controls are far below
    assert own["random", "deletion"][2] == 0
    assert own["saliency", "sparseness"][2] == 0  # has no direction


def test_controls_come_last_and_directions_are_signs(folder):
    found = study(folder)
    assert list(found.explainers) == ["gradient", "lime", "saliency", "random"]
    assert found.metrics == METRICS
    assert list(found.metrics) == ["deletion", "insertion", "sparseness"]  # faithfulness first
    assert boards(found)[0]["metrics"] == [0, 1, 2]


def test_leaders_beat_the_control(folder):
    found = leaders(study(folder))
    assert [(one.metric, one.explainer, one.control, one.verdict) for one in found] == [
        ("deletion", "saliency", "random", "yes"),
        ("insertion", "saliency", "random", "yes"),
    ]


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "undecided"), (5.0, "no")])
def test_a_control_that_is_level_or_ahead(tmp_path, shift, verdict):
    long = scores(EXPLAINERS, {"insertion": METRICS["insertion"]})
    best, control = (long["explainer"] == name for name in ("saliency", "random"))
    long.loc[control, "value"] = long.loc[best, "value"].to_numpy() + shift
    (one,) = leaders(study(make(tmp_path / "study", long)))
    assert one.verdict == verdict


def test_the_summary_says_what_the_numbers_say(folder):
    found = summary(study(folder), leaders(study(folder)), ["two seeds: the interval rests on a single difference between classifiers"])
    assert found["What was compared"][:2] == [
        "4 explainers (1 control that ignores the classifier among them), scored by 3 metrics (1 complexity and 2 faithfulness), on 1 "
        "classifier.",
        "Explained: 12 images of digits.",
    ]
    assert found["Which explainers lead"] == [
        "On digits / cnn saliency leads 2 of 2 metrics. In 2 of 2 the leader is significantly better than the best control, image by image."
    ]
    assert (
        "cnn has 90.00 % test accuracy on digits (95 % interval 85.00 to 95.00; 3 seeds, 50 test images); published: 91.00 %"
        in (found["The classifiers"][0])
    )
    warnings = " ".join(found["What to be careful about"])
    assert "Two seeds: the interval rests on" in warnings
    assert "abc+" in warnings


def test_undefined_scores_are_told_and_shown_as_such(tmp_path):
    long = scores(EXPLAINERS, METRICS)
    long.loc[(long["explainer"] == "lime") & (long["metric"] == "deletion"), "value"] = np.nan
    long.loc[(long["explainer"] == "gradient") & (long["index"] == 3), "value"] = np.nan
    found = study(make(tmp_path / "study", long))
    own = cells(boards(found)[0], found)
    assert own["lime", "deletion"][:2] == [None, "–"]
    warnings = " ".join(summary(found, leaders(found), [])["What to be careful about"])
    assert "1 score is undefined for every image" in warnings
    assert "4 of 12 scores rest on fewer images" in warnings


def test_curves_have_means_and_half_widths(folder):
    (panel,) = charts.curves(study(folder))
    table = pd.read_parquet(folder / "curves.parquet")
    line = next(line for line in panel["lines"] if list(study(folder).explainers)[line[0]] == "lime")
    rows = table[table["explainer"] == "lime"]
    assert panel["x"] == rows["fraction"].tolist()
    assert line[1] == pytest.approx(rows["mean"].tolist(), rel=1e-3)
    assert line[2] == pytest.approx([0.0123456] * 5, rel=1e-2)
    assert panel["left_out"] == 0


def test_of_too_many_points_the_ends_remain(folder, monkeypatch):
    monkeypatch.setattr(charts, "POINTS", 10)
    (panel,) = charts.curves(study(folder))
    assert (panel["x"], panel["left_out"]) == ([0, 0.5, 1], 2)


def test_cost_is_for_one_image(folder):
    found = {place: (passes, seconds) for _, place, passes, seconds in charts.costs(study(folder))}
    assert found == {0: (4, 0.1), 1: (4, 0.1), 2: (4, 0.1), 3: (0, 0.1)}  # 24 + 24 passes, 12 images


def test_agreement_is_spearmans_with_lower_is_better_turned(folder):
    (found,) = charts.agreement(study(folder))
    names = list(METRICS)
    table = pd.read_csv(folder / "table.csv").pivot_table(index="explainer", columns="metric", values="mean")
    listed = [list(study(folder).metrics)[place] for place in found["metrics"]]
    for row, a in enumerate(listed):
        for column, b in enumerate(listed):
            signs = [-1 if name == "deletion" else 1 for name in (a, b)]
            expected = stats.spearmanr(signs[0] * table[a], signs[1] * table[b]).statistic
            assert found["rows"][row][column] == round(100 * expected)
    assert set(listed) == set(names)


def test_without_tests_nothing_is_compared_with_controls(folder):
    (folder / "comparison.parquet").unlink()
    found = study(folder)
    assert {one.verdict for one in leaders(found)} == {"not compared"}
    assert not any(cell[2] & CLEAR for cell in cells(boards(found)[0], found).values())
    assert "significantly" not in " ".join(summary(found, leaders(found), [])["Which explainers lead"])


def test_agreement_that_the_study_measured_is_taken(folder):
    given = pd.DataFrame(
        [("digits", "cnn", "spearman", "deletion", "insertion", -0.25), ("digits", "cnn", "W", "all", "", 0.9)],
        columns=["dataset", "model", "kind", "first", "second", "value"],
    )
    given.to_csv(folder / "metric_agreement.csv", index=False)
    (found,) = charts.agreement(study(folder))
    assert found["rows"] == [[100, -25], [-25, 100]]


def test_ranks_and_comparisons(folder):
    ranks = [("digits", "cnn", "deletion", name, "x", rank, groups) for name, rank, groups in (("lime", 2, "ab"), ("saliency", 1.5, "a"))]
    pd.DataFrame(ranks, columns=["dataset", "model", "metric", "explainer", "family", "mean_rank", "groups"]).assign(images=12).to_csv(
        folder / "ranks.csv", index=False
    )
    columns = ["dataset", "model", "metric", "first", "second", "images", "difference", "low", "high", "effect", "p", "p_holm", "differs"]
    pairs = [
        ("lime", "random", 12, 0.1, 0.05, 0.15, 0.6, 0.001, 0.002, True),
        ("gradient", "lime", 12, 0.2, 0.1, 0.3, 0.1, 0.01, 0.02, True),
    ]
    pairs += [("saliency", "lime", 12, 0.2, 0.1, 0.3, 1.0, 0.2, 0.4, False)]
    pd.DataFrame([("digits", "cnn", "deletion", *pair) for pair in pairs], columns=columns).to_parquet(
        folder / "comparison.parquet", index=False
    )
    assert charts.ranks(study(folder)) == [
        {"title": ["digits", "cnn"], "metric": "deletion", "images": 12, "rows": [[2, 1.5, "a"], [1, 2, "ab"]]}
    ]
    (found,) = charts.comparisons(study(folder))
    assert (found["pairs"], found["significant"], found["images"]) == (3, 2, [12, 12])
    assert found["rows"] == [[0, 1, 0.2, 0.1, 0.3, 0.1, 0.02, 12], [1, 3, 0.1, 0.05, 0.15, 0.6, 0.002, 12]]  # the largest effect first


def test_labels_are_short_unless_two_would_be_the_same(tmp_path):
    names = ["deletion[removal.class=xaibench.removal.Blur, removal.sigma=3]", "deletion[removal.class=xaibench.removal.Inpainting]"]
    long = scores(EXPLAINERS, dict.fromkeys(names, ("faithfulness", False)))
    assert list(study(make(tmp_path / "a", long)).metrics) == ["deletion[Blur, sigma=3]", "deletion[Inpainting]"]
    alike = ["m[removal.class=one.Blur]", "m[removal.class=two.Blur]"]
    long = scores(EXPLAINERS, dict.fromkeys(alike, ("faithfulness", False)))
    assert list(study(make(tmp_path / "b", long)).metrics) == alike


def test_names_that_look_like_nothing_or_numbers_are_names(tmp_path):
    explainers = {"nan": "gradient", "1e3": "gradient", "None": "control"}
    found = study(make(tmp_path / "study", scores(explainers, METRICS), explainers))
    assert list(found.explainers) == ["1e3", "nan", "None"]


def test_claims_have_verdicts(folder):
    (found,) = claims(study(folder)).values()
    assert [(one.claim, one.verdict, one.where) for one in found] == [
        ("better & best", "holds", "lime"),
        ("no", "does not hold", "lime"),
        ("better & best", "undecided", "lime"),
    ]
    assert (found[0].value, found[0].interval) == ("0.5", "0.4 to 0.6")


def test_methods_are_described_by_their_classes_or_by_the_study(folder):
    explainers, metrics = methods(study(folder))
    lime = next(one for one in explainers if one.name == "lime")
    assert lime.link.startswith("https://arxiv.org/abs/")
    assert lime.what.endswith(".")
    assert {one.name: one.arrow for one in metrics} == {"deletion": "↓", "insertion": "↑", "sparseness": ""}
    pd.DataFrame([("explainer", "lime", "Own words.", "", "a=1")], columns=["kind", "name", "what", "paper", "settings"]).to_csv(
        folder / "methods.csv", index=False
    )
    assert Method("lime", "perturbation", "", "Own words.", "", "a=1") in methods(study(folder))[0]


def test_classifiers_reports(folder):
    heads, rows = accuracies(study(folder))
    assert dict(zip(heads, rows[0], strict=True)) | {"reference": "91.00", "test accuracy, %": "90.00"} == dict(
        zip(heads, rows[0], strict=True)
    )
    pairs = [("digits", "cnn", "auto", seed, a, b, 8 if a == b else 2) for seed in (0, 1) for a in "xy" for b in "xy"]
    pd.DataFrame(pairs, columns=["dataset", "model", "trainer", "seed", "label", "predicted", "count"]).to_csv(
        folder / "confusion.csv", index=False
    )
    columns = ["dataset", "model", "trainer", "seed", "class", "precision", "recall", "f1", "support"]
    given = [("digits", "cnn", "auto", seed, "x", 0.5 + seed, 0.5, 0.5, 10) for seed in (0, 0.1)]
    pd.DataFrame(given, columns=columns).to_csv(folder / "report.csv", index=False)
    (one,) = reports(study(folder))
    assert one.rows == [["x", "0.550", "0.500", "0.500", "10"]]
    assert (one.classes, one.counts) == (["x", "y"], [[80, 20], [20, 80]])


def test_further_tables_and_provenance(folder):
    pd.DataFrame({"metric": ["deletion"], "noise": [0.123456], "images_needed": [float("inf")]}).to_csv(
        folder / "metric_quality.csv", index=False
    )
    (sheet,) = sheets(study(folder))
    assert (sheet.heads, sheet.numeric) == (["metric", "noise", "images needed"], [False, True, True])
    assert sheet.rows == [[("deletion", ""), ("0.1235", "0.123456"), ("∞", "")]]
    assert ("written by, versions", "python 3.11") in provenance(study(folder))
    assert ("seeds", "0, 1, 2") in provenance(study(folder))


def test_the_same_metric_on_other_networks_is_apart(tmp_path):
    long = pd.concat([scores(EXPLAINERS, METRICS), scores(dict(list(EXPLAINERS.items())[:2]), METRICS, model="mlp")], ignore_index=True)
    folder = make(tmp_path / "study", long)
    write(aggregate(long), folder)
    assert [(board["title"], len(board["rows"])) for board in boards(study(folder))] == [(["digits", "cnn"], 4), (["digits", "mlp"], 2)]


def test_where_no_explainer_beats_the_controls_none_is_named(tmp_path):
    names = {f"e{place}": "gradient" for place in range(8)} | {"random": "control"}
    long = scores(names, METRICS)
    long["value"] = long.groupby(["metric", "index", "seed"])["value"].transform("mean")
    found = study(make(tmp_path / "study", long, names))
    told = " ".join(text for texts in summary(found, leaders(found), []).values() for text in texts)
    assert "no explainer is significantly better than the best control by any metric" in told
    assert "most often" not in told
