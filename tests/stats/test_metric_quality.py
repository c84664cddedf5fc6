import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xaibench.figures.quality import quality
from xaibench.stats.metric_quality import draw_share, markdown, metric_quality, noticing, recovery

STRENGTHS = [0.0, 0.25, 0.5, 0.75, 1.0]


def long_table(score, higher=True, images=40, seeds=(0, 1, 2), draws=(0,), metric="deletion"):
    """`score(kind, strength, seed, draw, image)` in a long table."""
    rows = []
    for kind in ("noise", "blur", "shift", "negate"):
        for strength in STRENGTHS:
            for seed in seeds:
                for draw in draws:
                    for image in range(images):
                        value = score(kind, strength, seed, draw, image)
                        rows.append((f'"{kind}"', str(strength), seed, draw, image, image % 3, value))
    frame = pd.DataFrame(rows, columns=["explainer.kind", "explainer.strength", "seed", "draw", "index", "target", "value"])
    named = {"dataset": "mnist", "model": "cnn", "metric": metric, "metric_family": "faithfulness", "score": "value"}
    return frame.assign(**named, higher_is_better=higher)


def noisy(scale, sign=1.0):
    draw = np.random.default_rng(0)
    return lambda kind, strength, seed, draws, image: -sign * strength + scale * draw.normal() + image


def test_recovery_is_kendalls_tau_b():
    scores = np.random.default_rng(1).integers(0, 4, (50, 5)).astype(float)
    scores[0] = 2.0
    expected = [stats.kendalltau(-row, STRENGTHS).statistic if len(set(row)) > 1 else 0.0 for row in scores]
    assert np.allclose(recovery(scores), expected)
    assert recovery(np.array([[5.0, 4, 3, 2, 1], [1, 2, 3, 4, 5]])).tolist() == [1.0, -1.0]


@pytest.mark.parametrize(("higher", "sign"), [(True, 1.0), (False, -1.0), (None, 1.0)])
def test_a_perfect_metric_tells_in_either_direction(higher, sign):
    (row,) = metric_quality(long_table(noisy(0.0, sign), higher)).to_dict("records")
    assert (row["noise"], row["blur"], row["shift"], row["tells"]) == (1.0, 1.0, 1.0, "yes")
    assert (row["negated"], row["pure_noise"], row["images_needed"], row["undefined"]) == (1.0, 1.0, 2.0, 0.0)
    assert row["direction"] == {True: "higher", False: "lower", None: "none"}[higher]


def test_the_wrong_direction_is_reversed_and_a_blind_metric_tells_nothing():
    (wrong,) = metric_quality(long_table(noisy(0.0), higher=False)).to_dict("records")
    assert (wrong["noise"], wrong["tells"], wrong["images_needed"]) == (-1.0, "reversed", math.inf)
    (blind,) = metric_quality(long_table(noisy(1000.0), images=60)).to_dict("records")
    assert blind["tells"] == "no"
    assert abs(blind["noise"]) < 0.2
    (constant,) = metric_quality(long_table(lambda *_: 1.0)).to_dict("records")
    assert (constant["noise"], constant["negated"], constant["tells"]) == (0.0, 0.5, "no")


def test_missing_scores_are_counted_and_left_out():
    def score(kind, strength, seed, draw, image):
        return math.nan if image < 10 and strength == 0.5 else -strength

    (row,) = metric_quality(long_table(score)).to_dict("records")
    assert row["undefined"] == 0.25
    assert row["noise"] == 1.0
    (nothing,) = metric_quality(long_table(lambda *_: math.nan)).to_dict("records")
    assert math.isnan(nothing["noise"])
    assert nothing["tells"] == "no"
    assert nothing["undefined"] == 1.0


def test_an_image_counts_once_whatever_each_seed_predicts():
    table = long_table(noisy(0.5), images=30)
    apart = table.assign(target=(table["index"] + table["seed"]) % 3)
    pd.testing.assert_frame_equal(metric_quality(apart), metric_quality(table))


def test_undefined_is_that_of_the_kind_with_most():
    (row,) = metric_quality(long_table(lambda kind, strength, *_: math.nan if kind == "blur" and strength else -strength)).to_dict(
        "records"
    )
    assert row["undefined"] == 1.0


def test_images_needed_is_the_sample_size_of_a_paired_test():
    draw = np.random.default_rng(3)
    table = pd.DataFrame({0.0: draw.normal(0.5, 1, 4000), 0.25: np.zeros(4000)})
    assert noticing(table) == pytest.approx((1.96 + 0.8416) ** 2 / 0.5**2, rel=0.15)
    assert noticing(-table) == math.inf


def test_the_share_of_draws():
    draw = np.random.default_rng(4)
    index = pd.MultiIndex.from_product([[0], [0, 1], range(3000), [0]], names=["seed", "draw", "index", "target"])
    image = np.tile(draw.normal(0, 2, 3000), 2)
    table = pd.DataFrame({0.0: image + draw.normal(0, 1, 6000)}, index=index)
    assert draw_share(table) == pytest.approx(1 / 5, abs=0.02)
    assert math.isnan(draw_share(table.xs(0, level="draw", drop_level=False)))


def test_the_page_and_the_figure_show_every_metric(tmp_path):
    frame = pd.concat([long_table(noisy(1.0)), long_table(noisy(0.1), metric="insertion").assign(dataset="fashion")])
    table = metric_quality(frame)
    page = markdown(table)
    assert "| deletion | faithfulness | higher |" in page
    assert page.index("## fashion / cnn") < page.index("## mnist / cnn")
    figure = quality(table, tmp_path / "quality.png")
    assert [axes.get_title() for axes in figure.axes] == ["fashion\ncnn", "mnist\ncnn"]
    assert (tmp_path / "quality.png").stat().st_size > 10_000
