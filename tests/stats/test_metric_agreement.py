"""Agreement of metrics and the split of variance: against published numbers, definitions and simulations."""

from dataclasses import replace

import krippendorff
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xaibench.stats.metric_agreement import _alpha, _concordance, markdown, metric_agreement, wide
from xaibench.stats.paired import Scored
from xaibench.stats.variance import markdown as of_variance
from xaibench.stats.variance import shares, variance


def scored(metric, offsets, sign=1.0, images=200, seeds=2, noise=0.01, family="faithfulness", seed=0):
    draw = np.random.default_rng(seed)
    values = {name: sign * (offset + noise * draw.normal(size=(images, seeds))) for name, offset in offsets.items()}
    return Scored({"dataset": "d", "model": "m", "trainer": "t"}, metric, family, values, dict.fromkeys(values, "gradient"), sign)


ORDER = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
OTHER = {"a": 2.0, "b": 1.0, "c": 4.0, "d": 3.0}


@pytest.mark.parametrize("lacking", [(0,), (59, 0)])
def test_metrics_that_lack_an_image_agree_with_themselves(lacking):
    """In each replicate the images that both have are the same ones."""
    one = scored("q0", {name: 0.3 * place for place, name in enumerate("abcdefgh")}, images=60, noise=3.0)
    table = [one]
    for place, image in enumerate(lacking, 1):
        values = {name: part.copy() for name, part in one.by_explainer.items()}
        for part in values.values():
            part[image] = np.nan
        table.append(replace(one, metric=f"q{place}", by_explainer=values))
    found = metric_agreement(table)
    assert found.loc[found["kind"] == "spearman", "low"].min() > 0.8
    assert found.loc[found["kind"] == "W", "low"].min() > 0.8


def test_the_correlation_is_spearmans_and_directions_do_not_matter():
    table = metric_agreement([scored("up", ORDER), scored("down", ORDER, sign=-1.0), scored("other", OTHER, family="robustness")])
    found = {frozenset(row[:2]): row[2] for row in table[table["kind"] == "spearman"][["first", "second", "value"]].to_numpy()}
    expected = stats.spearmanr(list(ORDER.values()), list(OTHER.values())).statistic
    assert found == {
        frozenset(("up", "down")): 1.0,
        frozenset(("up", "other")): pytest.approx(expected),
        frozenset(("down", "other")): pytest.approx(expected),
    }
    assert set(table.loc[table["kind"] == "W", "first"]) == {"all", "faithfulness"}
    matrix = wide(table[table["kind"] == "spearman"])
    assert (matrix.to_numpy() == matrix.to_numpy().T).all()
    page = markdown(table)
    assert "| faithfulness | 2 of 2 | 4 | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |  |" in page


def test_kendalls_w_is_what_the_mean_correlation_says():
    """W = (1 + (m - 1) mean rho) / m without ties (Kendall and Gibbons 1990, eq. 6.6)."""
    draw = np.random.default_rng(0)
    ranks = np.stack([draw.permutation(7) + 1.0 for _ in range(5)])
    rho = np.mean([stats.spearmanr(ranks[i], ranks[j]).statistic for i in range(5) for j in range(i)])
    assert _concordance(ranks[:, None, None])[0, 0] == pytest.approx((1 + 4 * rho) / 5)
    tied = stats.rankdata(draw.integers(0, 3, size=(5, 8)), axis=1)
    chi2 = stats.friedmanchisquare(*tied.T).statistic
    assert _concordance(tied[:, None, None])[0, 0] == pytest.approx(
        chi2 / (5 * 7)
    )  # Friedman's statistic is m (n - 1) W, ties corrected in both


def test_alpha_is_krippendorffs():
    """No agreement beyond chance is 0, opposite judges are below, equal ones 1 (Krippendorff 2011)."""
    order = np.arange(1.0, 21)
    assert _alpha(np.stack([order, order])[:, None, None])[0, 0] == pytest.approx(1)
    assert _alpha(np.stack([order, order[::-1]])[:, None, None])[0, 0] < -0.9
    draw = np.random.default_rng(1)
    chance = np.stack([np.stack([draw.permutation(order) for _ in range(300)]) for _ in range(4)])
    assert _alpha(chance[:, :, None]).mean() == pytest.approx(0, abs=0.02)
    assert np.isnan(_alpha(np.ones((2, 1, 1, 4)))[0, 0])


@pytest.mark.parametrize("levels", [2, 4, 100])
def test_alpha_is_that_of_its_authors_definition_with_ties_too(levels):
    ranks = stats.rankdata(np.random.default_rng(levels).integers(0, levels, size=(5, 6, 2, 9)), axis=3)
    expected = [[krippendorff.alpha(ranks[:, row, seed], level_of_measurement="ordinal") for seed in range(2)] for row in range(6)]
    np.testing.assert_allclose(_alpha(ranks), expected, rtol=1e-12, atol=1e-14)


def test_noise_widens_the_interval_and_it_holds_the_truth():
    clear, noisy = (metric_agreement([scored("x", ORDER, noise=n, seed=1), scored("y", ORDER, noise=n, seed=2)]) for n in (0.01, 12.0))
    assert clear.loc[0, "low"] == clear.loc[0, "high"] == 1
    assert noisy.loc[0, "low"] < noisy.loc[0, "value"]
    assert noisy.loc[0, "low"] >= -1


def without(one, name, images):
    """Undefined on the first images."""
    one.by_explainer[name][:images] = np.nan
    return one


def sizes(table):
    return {
        (row["kind"], row["first"], row["second"]): (row["metrics"], row["explainers"], row["left_out"]) for row in table.to_dict("records")
    }


def test_metrics_are_compared_by_the_explainers_that_both_order():
    given = [scored("x", ORDER), scored("y", OTHER), without(scored("gap", ORDER), "a", 101), without(scored("few", ORDER), "b", 100)]
    found = sizes(metric_agreement(given))
    assert found["spearman", "x", "y"] == found["spearman", "x", "few"] == (2, 4, "")
    assert found["spearman", "x", "gap"] == (2, 3, "")  # undefined on most images: a is not in its order
    assert found["W", "all", ""] == (3, 4, "gap")
    poor = without(without(scored("poor", ORDER), "a", 200), "b", 200)
    assert ("spearman", "x", "poor") not in sizes(metric_agreement([*given, poor]))
    assert metric_agreement([scored("x", ORDER)]).empty
    assert metric_agreement([scored("x", {"a": 1, "b": 2}), scored("y", {"a": 1, "b": 2})]).empty


def test_what_lacks_most_is_left_out_and_named():
    gap = ORDER | {"constant": 0.0}
    found = sizes(metric_agreement([without(scored(name, gap), "constant", 200) for name in "uv"] + [scored("w", gap)]))
    assert found["W", "all", ""] == (3, 4, "")  # most have none for the constant map: that goes
    lacking = without(without(scored("lacking", gap), "a", 200), "b", 200)
    table = metric_agreement([scored("u", gap), scored("v", gap), scored("w", gap), lacking])
    assert sizes(table)["W", "faithfulness", ""] == (3, 5, "lacking")
    assert "| faithfulness | 3 of 4 | 5 |" in markdown(table)
    assert "| lacking |" in markdown(table)


@pytest.mark.parametrize("draws", [1, 3])
def test_shares_of_the_variance_are_those_of_the_simulation(draws):
    rng = np.random.default_rng(2)
    values = 2 * rng.normal(size=(3000, 1, 1)) + 1.0 * rng.normal(size=(1, 60, 1)) + 0.5 * rng.normal(size=(3000, 60, 1))
    values = values + 1.5 * rng.normal(size=(3000, 60, draws))
    found = shares(values)
    total = 4 + 1 + 0.25 + 2.25
    assert found["image"] == pytest.approx(4 / total, abs=0.05)
    assert found["seed"] == pytest.approx(1 / total, abs=0.05)
    assert found["deviation"] == pytest.approx(np.sqrt(total), rel=0.05)
    if draws == 1:
        assert np.isnan(found["draw"])
        assert found["image_and_seed"] == pytest.approx(2.5 / total, abs=0.03)
    else:
        assert found["draw"] == pytest.approx(2.25 / total, abs=0.03)
        assert found["image_and_seed"] == pytest.approx(0.25 / total, abs=0.03)
        assert sum(found[name] for name in ("image", "seed", "image_and_seed", "draw")) == pytest.approx(1)


def test_variance_of_the_long_table_and_its_page():
    facts = {"dataset": "d", "model": "m", "trainer": "t", "metric": "q", "metric_family": "f", "score": "value", "flag": ""}
    facts |= {"higher_is_better": True, "metric_version": 1, "target": 0, "explainer": "a", "family": "gradient"}
    rng = np.random.default_rng(3)
    rows = [{"seed": s, "draw": d, "index": i, "value": rng.normal() + 3 * (i % 2)} for s in range(3) for d in range(2) for i in range(20)]
    table = variance(pd.DataFrame(rows).assign(**facts))
    values = np.array([row["value"] for row in rows]).reshape(3, 2, 20).transpose(2, 0, 1)
    (row,) = table.to_dict("records")
    assert {name: row[name] for name in shares(values)} == pytest.approx(shares(values))
    assert row["image"] > 0.5
    assert f"| q | 1 | {row['image']:.2f} |" in of_variance(table)
    lonely = shares(np.zeros((5, 1, 1)))
    assert np.isnan(lonely["image"])
    assert shares(np.zeros((5, 2, 1)))["deviation"] == 0
