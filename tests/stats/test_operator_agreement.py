import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xaibench.stats.operator_agreement import markdown, operator_agreement

EXPLAINERS = ["a", "b", "c", "d"]


def long_table(orders, images=20, seeds=2, missing=None):
    """Scores whose mean by explainer is `orders[operator]`."""
    draw = np.random.default_rng(0)
    rows = []
    for operator, values in orders.items():
        for explainer, value in zip(EXPLAINERS, values, strict=True):
            for seed in range(seeds):
                noise = draw.normal(size=images)
                for image in range(images):
                    score = np.nan if (operator, explainer, image) == missing else value + noise[image] - noise.mean()
                    rows.append((f"deletion[removal.class={operator}]", f'"xaibench.removal.{operator}"', explainer, seed, image, 0, score))
    columns = ["metric", "metric.removal.class", "explainer", "seed", "index", "target", "value"]
    return pd.DataFrame(rows, columns=columns).assign(dataset="mnist", model="cnn", score="value")


ORDERS = {"Constant": [1, 2, 3, 4], "Blur": [1, 2, 4, 3], "TrainingMean": [40, 30, 20, 10]}


def test_agreement_is_the_mean_correlation_of_all_pairs():
    (row,) = operator_agreement(long_table(ORDERS)).to_dict("records")
    values = list(ORDERS.values())
    expected = [stats.spearmanr(values[i], values[j]).statistic for i, j in ((0, 1), (0, 2), (1, 2))]
    assert row["agreement"] == pytest.approx(np.mean(expected))
    assert (row["operators"], row["explainers"], row["metric"]) == (3, 4, "deletion")
    assert (row["least"], row["least_pair"]) == (-1.0, "Constant and TrainingMean")
    assert "| mnist | cnn | deletion | 3 | 4 |" in markdown(operator_agreement(long_table(ORDERS)))


def test_an_image_without_a_score_somewhere_is_left_out_everywhere():
    whole, without = (operator_agreement(long_table(ORDERS, missing=missing)) for missing in (None, ("Blur", "a", 3)))
    assert without["agreement"].tolist() == pytest.approx(whole["agreement"].tolist())


def test_one_operator_agrees_with_nothing():
    assert operator_agreement(long_table({"Blur": [1, 2, 3, 4]})).empty
