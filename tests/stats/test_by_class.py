"""Scores of each class apart, and the figures for many explainers."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from xaibench.figures import style
from xaibench.figures.curves import MOST_LINES, MOST_PANELS, curves, files
from xaibench.figures.ranking import ranking
from xaibench.stats.by_class import by_class, markdown
from xaibench.tables.aggregate import aggregate


def long_table(explainers=(("a", "gradient"), ("r", "control")), images=12, seeds=2):
    draw = np.random.default_rng(0)
    facts = {"dataset": "d", "model": "m", "trainer": "t", "metric": "score", "score": "value", "metric_family": "faithfulness"}
    facts |= {"higher_is_better": True, "metric_version": 1, "target": 0, "draw": 0, "flag": ""}
    rows = [
        {"explainer": name, "family": family, "seed": seed, "index": image, "label": image % 3, "value": place + image % 3 + draw.normal()}
        | {"predicted": (image if image < 8 or image == 8 + seed else image + 1) % 3}
        for place, (name, family) in enumerate(explainers)
        for seed in range(seeds)
        for image in range(images)
    ]
    return pd.DataFrame(rows).assign(**facts)


def test_a_class_has_the_table_of_its_images_alone():
    long = long_table()
    found = by_class(long)
    for label in range(3):
        expected = aggregate(long[long["label"] == label])
        own = found[found["images_of"] == str(label)].drop(columns="images_of").reset_index(drop=True)
        pd.testing.assert_frame_equal(own[expected.columns], expected)
    for name, images in (("right", range(8)), ("wrong", (10, 11))):  # 8 and 9 are right with one seed and wrong with the other
        expected = aggregate(long[long["index"].isin(images)])
        own = found[found["images_of"] == name].drop(columns="images_of").reset_index(drop=True)
        pd.testing.assert_frame_equal(own[expected.columns], expected)
    page = markdown(found)
    assert "| explainer | 0 | 1 | 2 | right | wrong | spread |" in page
    mean = long[(long["explainer"] == "a") & (long["label"] == 2)]["value"].mean()
    assert f"{mean:.3f}" in next(line for line in page.splitlines() if line.startswith("| a |"))
    assert page.index("| a |") < page.index("| *r* (control) |")


def curve_table(explainers, models=1, kinds=1):
    rows = [
        {"explainer": f"e{n}", "family": "control" if n == 0 else ("gradient", "Shapley")[n % 2], "model": f"m{m}", "curve": f"c{k}"}
        | {"fraction": fraction, "mean": n + fraction, "low": n - 1, "high": n + 1}
        for n in range(explainers)
        for m in range(models)
        for k in range(kinds)
        for fraction in (0.0, 1.0)
    ]
    return pd.DataFrame(rows).assign(dataset="d", metric="deletion")


def test_more_explainers_than_can_be_told_apart_have_the_colors_of_their_families(tmp_path):
    figure = curves(curve_table(MOST_LINES + 1), tmp_path / "curves.png")
    (axes,) = figure.axes
    assert len(axes.lines) == MOST_LINES + 1
    assert not axes.collections  # no bands
    by_family = {}
    for line in axes.lines:
        number = int(line.get_label()[1:])
        by_family.setdefault("control" if number == 0 else ("gradient", "Shapley")[number % 2], set()).add(to_hex(line.get_color()))
    assert all(len(colors) == 1 for colors in by_family.values())
    assert len(set.union(*by_family.values())) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Shapley", "gradient", "control"]
    few = curves(curve_table(MOST_LINES), tmp_path / "few.png")
    assert len(few.axes[0].collections) == MOST_LINES


def test_a_metric_with_many_panels_has_a_figure_for_each_curve():
    few, many = curve_table(2, 4, 3), curve_table(2, 4, 4)
    assert few.groupby(["model", "curve"]).ngroups == MOST_PANELS
    assert [name for name, _ in files(few)] == ["deletion"]
    found = dict(files(many))
    assert list(found) == [f"deletion-c{k}" for k in range(4)]
    assert len(pd.concat(found.values())) == len(many)
    assert not list(files(many[:0]))


@pytest.mark.parametrize(("higher", "best"), [(True, 2.0), (False, 0.0)])
def test_the_ranking_has_the_best_above_and_a_line_at_the_best_control(tmp_path, higher, best):
    names = [("x", "control", 0.0), ("y", "gradient", 1.0), ("z", "control", 2.0), ("none", "gradient", np.nan)]
    table = pd.DataFrame(names, columns=["explainer", "family", "mean"]).assign(dataset="d", model="m", metric="q", higher_is_better=higher)
    figure = ranking(table.assign(low=table["mean"] - 0.1, high=table["mean"] + 0.1), tmp_path / "ranking.png")
    axes = figure.axes[0]
    order = [label.get_text() for label in axes.texts]
    assert order == (["none", "x", "y", "z"] if higher else ["none", "z", "y", "x"])
    (line,) = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert line.get_xdata()[0] == best
    assert {label.get_text() for label in axes.texts if label.get_fontstyle() == "italic"} == {"x", "z"}


def test_families_share_a_color_and_controls_are_grey_and_last():
    found = style.families({"c": "control", "a": "gradient", "b": "gradient", "d": "Shapley"})
    assert list(found) == ["a", "b", "d", "c"]
    assert found["a"]["color"] == found["b"]["color"] != found["d"]["color"]
    assert found["c"]["color"] == style.GREYS[0]
