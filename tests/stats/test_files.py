"""A study's statistics as files, and the critical-difference diagram."""

import re

import numpy as np
import pandas as pd
import pytest

from xaibench.figures.critical_difference import critical_difference
from xaibench.stats import files as significance
from xaibench.tables.aggregate import by_image

OFFSETS = {"strong": 2.0, "weak": 0.0, "random": -1.0, "sobel": 0.5}


def long_table(metrics=("q", "w"), seeds=2, images=40, explainers=tuple(OFFSETS)):
    draw = np.random.default_rng(0)
    facts = {"dataset": "d", "model": "m", "trainer": "t", "score": "value", "metric_family": "f", "higher_is_better": True}
    facts |= {"metric_version": 1, "target": 0, "draw": 0, "flag": ""}
    rows = [
        {"metric": metric, "explainer": name, "seed": seed, "index": image, "value": OFFSETS[name] + 0.3 * draw.normal()}
        for metric in metrics
        for name in explainers
        for seed in range(seeds)
        for image in range(images)
    ]
    table = pd.DataFrame(rows).assign(**facts)
    return table.assign(family=np.where(table["explainer"].isin(["random", "sobel"]), "control", "gradient"))


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_study_gets_its_statistics_and_the_same_bytes_again(tmp_path):
    table = long_table()
    significance.write(table, by_image(table), tmp_path)
    expected = {"comparison.parquet", "comparison.md", "ranks.csv", "metric_agreement.csv", "metric_agreement.md", "variance.csv"}
    expected |= {
        "stability_ranks.csv",
        "stability.csv",
        "stability.md",
        "variance.md",
        "critical_difference-q.png",
        "critical_difference-w.png",
    }
    assert names(tmp_path) == expected
    assert len(pd.read_parquet(tmp_path / "comparison.parquet")) == 2 * 6
    assert set(pd.read_csv(tmp_path / "ranks.csv")["groups"]) == {"a", "b", "c", "d"}
    assert re.search(r"\| q \| \d+ \| strong \| none \| strong - sobel: \+1\.", (tmp_path / "comparison.md").read_text())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    shuffled = table.sample(frac=1, random_state=0)
    significance.write(shuffled, by_image(shuffled), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_pairs_are_kept_where_no_image_has_all_explainers(tmp_path):
    table = long_table(explainers=("strong", "weak", "random"), images=60)
    for place, name in enumerate(("strong", "weak", "random")):
        table.loc[(table["explainer"] == name) & (table["index"] % 3 == place), "value"] = np.nan
    significance.write(table, by_image(table), tmp_path)
    assert "ranks.csv" not in names(tmp_path)
    assert pd.read_parquet(tmp_path / "comparison.parquet")["differs"].all()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"metrics": ("q",)}, "metric_agreement"),
        ({"seeds": 1}, "variance"),
        ({"explainers": ("strong",), "metrics": ("q",)}, "ranks"),
    ],
)
def test_what_cannot_be_said_is_not_written(tmp_path, given, missing):
    table = long_table(**given)
    significance.write(table, by_image(table), tmp_path)
    assert not [name for name in names(tmp_path) if name.startswith(missing)]


def test_the_diagram_sorts_by_rank_and_joins_what_does_not_differ(tmp_path):
    rows = [("b", "gradient", 2.0, "ab"), ("a", "gradient", 1.2, "a"), ("c", "control", 2.8, "b"), ("d", "gradient", 4.0, "c")]
    ranks = pd.DataFrame(rows, columns=["explainer", "family", "mean_rank", "groups"])
    figure = critical_difference(
        ranks.assign(dataset="d", model="m", trainer="t", metric="q", images=9, friedman=0.01), tmp_path / "cd.png"
    )
    (axes,) = figure.axes
    heights = {label.get_text(): label.get_position()[1] for label in axes.texts}
    assert heights["a"] > heights["b"] > heights["c"] > heights["d"]
    bars = [sorted(line.get_ydata()) for line in axes.lines if len(line.get_ydata())]
    assert bars == [[1.75, 3.25], [0.75, 2.25]]  # none for d, which differs from all
    assert "9 images, Friedman p = 0.010" in axes.get_title()
    assert {label.get_text() for label in axes.texts if label.get_fontstyle() == "italic"} == {"c"}
