"""Stability of orders: on scores whose order is certain, and on noise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from xaibench.stats.paired import Scored
from xaibench.stats.stability import _apart, markdown, ranked, stability


def scored(metric="q", noise=0.01, images=60, seeds=3, count=5, family="f", seed=0, shift=0.0):
    draw = np.random.default_rng(seed)
    values = {
        f"e{place}": place + noise * draw.normal(size=(images, seeds)) + shift * draw.normal(size=(1, seeds)) for place in range(count)
    }
    return Scored({"dataset": "d", "model": "m", "trainer": "t"}, metric, family, values, dict.fromkeys(values, "gradient"), 1.0)


def test_a_certain_order_does_not_move():
    table = stability([scored()])
    assert table["against"].tolist() == ["half of the images", "other seed"]
    for row in table.to_dict("records"):
        assert (row["moved"], row["by"], row["tau"], row["same_first"]) == pytest.approx((0, 0, 1, 1))
    ranks = ranked([scored()])
    assert ranks["explainer"].tolist()[:5] == ["e4", "e3", "e2", "e1", "e0"]
    assert (ranks["rank_low"] == ranks["rank"]).all()
    assert (ranks["rank_high"] == ranks["rank"]).all()
    assert "| q | half of the images | 5 | 60 | 0% | 0.0 | 1.00 | 100% |" in markdown(table)


def test_distances_of_orders_are_those_of_their_definitions():
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(9, 7)), draw.integers(0, 3, size=(9, 7)).astype(float)
    for one, other, found in zip(first, second, _apart(first, second), strict=True):
        ranks, others = stats.rankdata(-one), stats.rankdata(-other)
        expected = (ranks != others).mean(), np.abs(ranks - others).mean(), stats.kendalltau(ranks, others).statistic
        assert found.tolist() == [*expected, float(((ranks == ranks.min()) & (others == others.min())).any())]


def test_explainers_that_are_first_together_have_no_order_among_them():
    """Their places in the table do not decide."""
    one = np.array([[1.0, 1.0, 0.0]])
    assert _apart(one, np.array([[0.0, 1.0, -1.0]])).tolist() == _apart(one, np.array([[1.0, 0.0, -1.0]])).tolist()


def test_a_family_of_metrics_that_lack_other_images_is_no_surer_than_one_metric():
    """Replicates of all metrics are of the same images: averaging them would narrow the interval otherwise."""
    whole = scored(noise=6.0, count=8)
    lacking = []
    for place in range(5):
        values = {name: part.copy() for name, part in whole.by_explainer.items()}
        for part in values.values():
            part[place] = np.nan  # as many images each, but not the same
        lacking.append(replace(whole, metric=f"q{place}", by_explainer=values))
    alone, family = (table[table["metric"] == ""] for table in (ranked([whole]), ranked(lacking)))
    widths = [(table["rank_high"] - table["rank_low"]).mean() for table in (alone, family)]
    assert widths[0] > 2
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_noise_has_no_order():
    found = stability([scored(noise=1e6, images=200, seed=seed) for seed in range(12)])
    halves = found[found["against"] == "half of the images"]
    assert halves["tau"].mean() == pytest.approx(0, abs=0.15)
    assert halves["same_first"].mean() == pytest.approx(1 / 5, abs=0.12)
    assert halves["by"].mean() == pytest.approx((25 - 1) / (3 * 5), abs=0.3)  # of two random permutations: (n^2 - 1) / (3 n)
    ranks = ranked([scored(noise=1e6)])
    assert (ranks["rank_high"] - ranks["rank_low"]).head(5).min() > 1


def test_seeds_that_differ_widen_the_interval_and_move_ranks():
    same, other = scored(noise=0.5, shift=0.0), scored(noise=0.5, shift=3.0)
    widths = [(table["rank_high"] - table["rank_low"]).head(5).mean() for table in (ranked([same]), ranked([other]))]
    assert widths[1] > widths[0] + 0.5
    moved = [table.set_index("against").loc["other seed", "by"] for table in (stability([same]), stability([other]))]
    assert moved[1] > moved[0]


def test_explainers_with_equal_scores_tie_in_every_replicate():
    """The last bit of a sum depends on its place in the matrix product, and on the threads."""
    one = scored(noise=0.5, images=60, count=5)
    one.by_explainer["f"], one.families["f"] = one.by_explainer["e0"].copy(), "gradient"
    table = ranked([one]).query("metric == 'q'").set_index("explainer")
    assert set(table.loc["e0", ["rank", "rank_low", "rank_high"]]) == set(table.loc["f", ["rank", "rank_low", "rank_high"]]) == {5.5}


def test_a_family_has_the_mean_of_its_metrics_ranks():
    first, second = scored("q"), scored("w")
    second.by_explainer.update({name: -values for name, values in first.by_explainer.items()})
    table = ranked([first, second, scored("z", family="g")])
    family = table[(table["metric"] == "") & (table["metric_family"] == "f")]
    assert family["rank"].tolist() == [3.0] * 5
    assert set(table[table["metric"] == ""]["metric_family"]) == {"f", "g"}


def test_one_seed_and_one_image():
    assert stability([scored(seeds=1)])["against"].tolist() == ["half of the images"]
    assert stability([scored(images=1)]).empty
    assert stability([]).empty
