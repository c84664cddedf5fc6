"""Comparisons of explainers: against examples that R publishes, closed forms, and simulated scores."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from xaibench.stats.comparison import holm, letters, markdown, pairs, ranks
from xaibench.stats.intervals import crossed_interval, images_needed, wilson_interval
from xaibench.stats.paired import Scored, scored_tables

# Hollander and Wolfe 1973, p. 29, the example of R's wilcox.test: depression before and after a therapy.
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]

# Hollander and Wolfe 1973, p. 140, the example of R's friedman.test: three ways of rounding first base, 22 players.
ROUNDING = """5.40 5.50 5.55 5.85 5.70 5.75 5.20 5.60 5.50 5.55 5.50 5.40 5.90 5.85 5.70 5.45 5.55 5.60 5.40 5.40 5.35 5.45 5.50 5.35
5.25 5.15 5.00 5.85 5.80 5.70 5.25 5.20 5.10 5.65 5.55 5.45 5.60 5.35 5.45 5.05 5.00 4.95 5.50 5.50 5.40 5.45 5.55 5.50 5.55 5.55 5.35
5.45 5.50 5.55 5.50 5.45 5.25 5.65 5.60 5.40 5.70 5.65 5.55 6.30 6.30 6.25"""


def scored(by_explainer, sign=1.0, controls=()):
    """Scores of one seed, or (images, seeds), by explainer."""
    arrays = {name: np.asarray(values, dtype=float) for name, values in by_explainer.items()}
    arrays = {name: values[:, None] if values.ndim == 1 else values for name, values in arrays.items()}
    families = {name: "control" if name in controls else "gradient" for name in arrays}
    return Scored({"dataset": "d", "model": "m", "trainer": "t"}, "deletion", "faithfulness", arrays, families, sign)


def test_wilcoxons_test_is_that_of_r():
    (row,) = pairs(scored({"before": BEFORE, "after": AFTER})).to_dict("records")
    assert row["p"] == pytest.approx(0.03906, abs=5e-6)  # R: V = 40, p = 0.01953 one-sided
    assert (row["first"], row["second"], row["images"]) == ("before", "after", 9)
    assert row["difference"] == pytest.approx(np.mean(np.subtract(BEFORE, AFTER)))
    assert row["effect"] == pytest.approx(7 / 9)
    assert row["p_holm"] == row["p"]


def test_friedmans_test_is_that_of_r():
    times = np.array(ROUNDING.split(), dtype=float).reshape(22, 3)
    given = scored(dict(zip(("round out", "narrow angle", "wide angle"), times.T, strict=True)), sign=-1)
    found = ranks(given, pairs(given))
    assert found["friedman"].tolist() == pytest.approx([0.003805] * 3, abs=5e-7)  # R: chi-squared = 11.143, df = 2
    assert list(found["explainer"]) == ["wide angle", "narrow angle", "round out"]
    assert found["mean_rank"].sum() == pytest.approx(6)


def test_holms_adjustment_is_that_of_r():
    assert holm(np.array([0.01, 0.02, 0.03, 0.04, 0.05])) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    with_nan = holm(np.array([0.01, np.nan, 0.03]))
    assert np.isnan(with_nan[1])
    assert with_nan[[0, 2]] == pytest.approx([0.02, 0.03])
    given = np.random.default_rng(8).uniform(size=300).round(2) ** 5
    np.testing.assert_array_equal(holm(given), multipletests(given, method="holm")[1])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_better_one_comes_first_with_the_crossed_interval_of_the_difference(sign):
    draw = np.random.default_rng(0)
    noise = draw.normal(size=(60, 3))
    values = {name: sign * (offset + noise + 0.3 * draw.normal(size=(60, 3))) for name, offset in (("a", 0.0), ("b", 1.0), ("c", 0.2))}
    table = pairs(scored(values, sign)).set_index(["first", "second"])
    assert set(table.index) == {("b", "a"), ("b", "c"), ("c", "a")}
    expected = crossed_interval(sign * (values["b"] - values["a"]))
    row = table.loc[("b", "a")]
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([expected.mean, expected.low, expected.high])
    assert row["effect_low"] < row["effect"] <= row["effect_high"] <= 1
    assert table["p_holm"].max() < 0.05


@pytest.mark.parametrize("images", [6, 12, 40, 80])
def test_pairs_tested_together_are_those_tested_alone(images):
    """With and without ties and zeros, few images and many, and images that some explainers have no score for."""
    draw = np.random.default_rng(images)
    values = {name: draw.normal(size=(images, 1)) for name in "abc"} | {name: draw.integers(0, 4, size=(images, 1)) / 2 for name in "def"}
    values["c"][:2], values["f"][1:3] = np.nan, np.nan
    table = pairs(scored(values))
    for row in table.to_dict("records"):
        differences = (values[row["first"]] - values[row["second"]])[:, 0]
        given = differences[np.isfinite(differences)]
        assert row["p"] == stats.wilcoxon(given, zero_method="pratt").pvalue
        assert row["images_needed"] == images_needed(given if given.mean() >= 0 else -given, 1 - 0.05 / len(table))
        assert (row["effect_low"], row["effect_high"]) == wilson_interval(row["effect"], len(given))


def test_an_image_without_a_score_counts_for_the_other_pairs_alone():
    draw = np.random.default_rng(1)
    values = {name: draw.normal(size=(20, 2)) for name in "abc"}
    values["a"][:4, 1] = np.nan
    table = pairs(scored(values)).set_index(["first", "second"])
    images = {frozenset(pair): count for pair, count in table["images"].items()}
    assert images == {frozenset("ab"): 16, frozenset("ac"): 16, frozenset("bc"): 20}
    assert set(ranks(scored(values), table.reset_index())["images"]) == {16}


def test_images_needed_is_for_whoever_is_ahead_on_the_images_that_both_have():
    draw = np.random.default_rng(2)
    base = draw.normal(size=60)
    # a is best over its own images, and behind b on those that both have
    values = {"a": base - 1 + 0.1 * draw.normal(size=60), "b": base.copy()}
    values["b"][:20], values["a"][:20] = np.nan, 9.0
    (row,) = pairs(scored(values)).to_dict("records")
    assert (row["first"], row["images"], row["images_needed"]) == ("a", 40, 2)
    assert row["difference"] == pytest.approx(-1, abs=0.1)


def test_one_seed_and_one_image_are_told():
    given = scored({"a": np.arange(8.0) + 1, "b": np.arange(8.0)})
    table = pairs(given)
    assert set(table["seeds"]) == {1}
    assert "One seed: the interval holds for this classifier only." in markdown(table, ranks(given, table))
    single = scored({"a": [1.0], "b": [0.5], "c": [0.2]})
    assert ranks(single, pairs(single)).empty


def test_rounding_of_axioms_is_no_difference():
    rows = pd.DataFrame({"explainer": np.repeat(["a", "b"], 40), "index": np.tile(np.arange(40), 2), "seed": 0, "draw": 0, "target": 0})
    rows["value"] = np.where(rows["explainer"] == "a", 0.0, 1e-7 + 1e-8 * rows["index"])
    facts = {"dataset": "d", "model": "m", "trainer": "t", "metric": "q", "metric_version": 1, "higher_is_better": False, "score": "value"}
    rows = rows.assign(**facts, family="gradient", flag="")
    for family, p in (("axiomatic", 1.0), ("faithfulness", 1e-6)):
        ((row,),) = (pairs(one).to_dict("records") for one in scored_tables(rows.assign(metric_family=family)))
        assert row["p"] <= p
        assert row["differs"] == (family != "axiomatic")


def test_equal_scores_and_missing_ones_have_a_defined_outcome():
    values = {"a": np.zeros(10), "b": np.zeros(10), "none": np.full(10, np.nan)}
    table = pairs(scored(values)).set_index(["first", "second"])
    assert table.loc[("a", "b"), "p"] == 1
    assert table.loc[("a", "b"), "effect"] == 0.5
    assert table.loc[("a", "b"), "images_needed"] == np.inf
    assert table.loc[("a", "none"), ["difference", "p", "p_holm"]].isna().all()
    found = ranks(scored(values), table.reset_index())
    assert list(found["explainer"]) == ["a", "b"]
    assert set(found["groups"]) == {"a"}
    assert pairs(scored({"a": np.zeros(3)})).empty
    assert ranks(scored({"a": np.zeros(3)}), pd.DataFrame()).empty


@pytest.mark.parametrize(
    ("differing", "expected"),
    [
        ([], ["a", "a", "a", "a"]),
        ([(0, 3)], ["a", "ab", "ab", "b"]),
        ([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], ["a", "b", "c", "d"]),
        ([(0, 2), (1, 3), (0, 3)], ["a", "ab", "bc", "c"]),
        ([(0, 1)], ["a", "b", "b", "b"]),  # 0 and 2 do not differ, but stand in no row without 1
    ],
)
def test_letters_are_the_bars_of_the_diagram(differing, expected):
    differs = np.zeros((4, 4), dtype=bool)
    for first, second in differing:
        differs[first, second] = differs[second, first] = True
    assert letters(differs) == expected


def test_letters_never_join_two_that_differ_and_no_run_is_left_out():
    draw = np.random.default_rng(2)
    for _ in range(200):
        count = int(draw.integers(1, 9))
        differs = np.triu(draw.random((count, count)) < 0.3, 1)
        differs = differs | differs.T
        found = letters(differs)
        for start in range(count):
            for end in range(start, count):
                together = bool(set.intersection(*(set(found[place]) for place in range(start, end + 1))))
                assert together == (not differs[start : end + 1, start : end + 1].any())


def test_noise_against_noise_is_found_different_as_often_as_the_level_says():
    """Two explainers without information, 2,000 times: 5 % of the tests, within three standard errors."""
    draw, found = np.random.default_rng(3), []
    for _ in range(50):  # 40 couples at a time, of whose pairs only those of a couple are independent
        table = pairs(scored({f"{side}{couple}": draw.normal(size=(60, 2)) for couple in range(40) for side in "rs"}))
        found += (table["p"][table["first"].str[1:] == table["second"].str[1:]] < 0.05).tolist()
    assert len(found) == 2000
    assert np.mean(found) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 2000))


def test_many_explainers_without_information_differ_in_one_of_twenty_tables():
    draw = np.random.default_rng(4)
    tables = [pairs(scored({name: draw.normal(size=60) for name in "abcde"})) for _ in range(400)]  # exact tests of fewer images are slow
    assert np.mean([(table["p_holm"] < 0.05).any() for table in tables]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_images_needed_finds_the_difference_four_times_in_five():
    draw = np.random.default_rng(5)
    differences = draw.normal(0.3, 1, 100_000)
    table = pairs(scored({"a": differences, "b": np.zeros(len(differences))}))
    needed = int(table.loc[0, "images_needed"])
    assert needed == pytest.approx((1.959964 + 0.841621) ** 2 / 0.3**2, rel=0.03)
    hits = [stats.ttest_1samp(draw.normal(0.3, 1, needed), 0).pvalue < 0.05 for _ in range(3000)]
    assert np.mean(hits) == pytest.approx(0.8, abs=0.03)


def test_significant_needs_the_interval_the_test_and_one_direction():
    draw = np.random.default_rng(7)
    clear = 1.0 + draw.normal(size=(200, 3))
    seeds = clear + np.array([8.0, -7.0, 0.0])  # other seeds might turn it round
    few = np.where(draw.uniform(size=(200, 1)) < 0.2, 5.0, -0.5)
    skewed = few + 0.01 * draw.normal(size=(200, 3))  # better in the mean, worse on most images
    found = {
        name: pairs(scored({"a": values, "b": np.zeros((200, 3))})).iloc[0]
        for name, values in {"clear": clear, "seeds": seeds, "skewed": skewed}.items()
    }
    assert found["clear"]["differs"]
    assert not found["seeds"]["differs"]
    assert found["seeds"]["p_holm"] < 0.001
    assert not found["skewed"]["differs"]
    assert found["skewed"]["p_holm"] < 0.05
    assert found["skewed"]["low"] > 0


def test_the_page_says_who_leads_and_what_the_best_control_is():
    draw = np.random.default_rng(6)
    noise = draw.normal(size=200)
    offsets = {"strong": 1.0, "also": 0.99, "weak": 0.2, "sobel": 0.5, "random": 0.0}
    given = scored({name: offset + noise + 0.1 * draw.normal(size=200) for name, offset in offsets.items()}, controls=("sobel", "random"))
    compared = pairs(given)
    line = next(line for line in markdown(compared, ranks(given, compared)).splitlines() if line.startswith("| deletion"))
    metric, images, first, near, beside = (cell.strip() for cell in line.strip("|").split("|"))
    assert (metric, images, first, near) == ("deletion", "200", "strong", "also")
    assert beside.startswith("strong - sobel: +0.499 (+0.4")
    assert beside.endswith("better on 100%, p < .001")


def test_tables_come_from_the_long_table_with_draws_and_targets_averaged():
    facts = {"dataset": "d", "model": "m", "trainer": "t", "metric": "q", "metric_family": "f", "score": "value", "flag": ""}
    facts |= {"higher_is_better": False, "metric_version": 1}
    rows = [
        {"explainer": name, "family": family, "seed": seed, "draw": step, "index": image, "target": target, "value": value}
        for (name, family), base in ((("a", "gradient"), 1.0), (("r", "control"), 5.0))
        for seed in (0, 1)
        for step in (0, 1)
        for image in (3, 8)
        for target, value in ((0, base + image + seed), (1, base + image + seed + 2 * step))
    ]
    (found,) = scored_tables(pd.DataFrame(rows).assign(**facts))
    assert found.by_explainer["a"].tolist() == [[4.5, 5.5], [9.5, 10.5]]
    assert (found.sign, found.controls, found.metric) == (-1.0, {"r"}, "q")
    spoiled = pd.DataFrame(rows).assign(**facts)
    spoiled.loc[0, "value"] = np.nan  # one target of one draw of image 3, seed 0
    (found,) = scored_tables(spoiled)
    assert np.isnan(found.by_explainer["a"][0, 0])
    assert found.means(list(found.by_explainer)).shape == (2, 2)
