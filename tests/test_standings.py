"""Explainers beside the best control, counted over metrics and classifiers."""

import numpy as np
import pandas as pd
import pytest

from xaibench import standings
from xaibench.paired import CLASSIFIER

PLACE = {"dataset": "d", "model": "m", "trainer": "t"}
FAMILIES = {"lime": "perturbation", "saliency": "gradient", "sobel": "control", "random": "control"}


def table(metric="q", higher=True, kind="faithfulness", model="m", **means):
    rows = [{"explainer": name, "mean": mean, "family": FAMILIES[name]} for name, mean in means.items()]
    facts = PLACE | {"model": model, "metric": metric, "metric_family": kind, "score": "value"}
    return pd.DataFrame(rows).assign(**facts, higher_is_better=pd.Series([higher] * len(rows), dtype=object))


def pairs(metric="q", model="m", **found):
    """By the pair's names: low, high, p."""
    rows = [dict(zip(("first", "second"), names.split("_"), strict=True)) for names in found]
    numbers = pd.DataFrame(list(found.values()), columns=["low", "high", "p_holm"])
    return pd.concat([pd.DataFrame(rows), numbers], axis=1).assign(**PLACE | {"model": model, "metric": metric})


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.1, 0.3, 0.049, True),
        (-0.3, -0.1, 0.049, False),
        (0.1, 0.3, 0.051, None),  # image by image it may be chance
        (-0.1, 0.3, 0.001, None),  # with other seeds it may be none
        (float("nan"), float("nan"), 0.001, None),
        (0.1, 0.3, float("nan"), None),
    ],
)
def test_better_takes_both_the_interval_and_the_test(low, high, p, verdict):
    assert standings.better("lime", "random", {("lime", "random"): (low, high, p)}) is verdict
    assert standings.better("lime", "random", {}) is None


def test_a_pair_is_found_in_either_order_and_turned_with_it():
    found = standings.tests(pairs(lime_random=(0.1, 0.3, 0.01), lime_saliency=(0.1, 0.2, 0.01)), ["random"], CLASSIFIER)
    assert found == {("d", "m", "t", "q"): {("lime", "random"): (0.1, 0.3, 0.01), ("random", "lime"): (-0.3, -0.1, 0.01)}}
    assert standings.tests(pd.DataFrame(), ["random"], CLASSIFIER) == {}


def counts(found):
    columns = ["explainer", "metric_family", "compared", "better", "worse", "place"]
    return {row[:2]: row[2:] for row in found[columns].itertuples(index=False, name=None)}


def test_the_control_with_the_best_mean_counts():
    scores = table(lime=0.9, saliency=0.2, sobel=0.5, random=0.1)
    compared = pairs(lime_sobel=(0.1, 0.5, 0.01), sobel_saliency=(0.2, 0.4, 0.01), saliency_random=(0.05, 0.2, 0.01))
    assert counts(standings.standings(scores, compared, pd.DataFrame())) == {
        ("lime", "faithfulness"): (1, 1, 0, 0.0),
        ("saliency", "faithfulness"): (1, 0, 1, 1.0),
    }
    # Where lower is better Sobel's is the worst control, and saliency's the better of the two explainers.
    turned = counts(standings.standings(scores.assign(higher_is_better=False), compared, pd.DataFrame()))
    assert turned == {("lime", "faithfulness"): (1, 0, 0, 1.0), ("saliency", "faithfulness"): (1, 1, 0, 0.0)}


def test_metrics_and_classifiers_are_summed_by_family():
    scores = pd.concat(
        [
            table(lime=0.9, saliency=0.2, random=0.1),
            table(model="n", lime=0.2, saliency=0.9, random=0.1),
            table("w", lime=0.3, saliency=0.3, random=0.1),
            table("c", kind="complexity", lime=0.3, saliency=float("nan"), random=0.4),
            table("free", higher=None, lime=1.0, saliency=2.0, random=3.0),
        ]
    )
    compared = pd.concat([pairs(lime_random=(0.1, 0.3, 0.01)), pairs(model="n", lime_random=(0.1, 0.3, 0.01))])
    found = counts(standings.standings(scores, compared, pd.DataFrame()))
    assert found["lime", "faithfulness"] == (3, 2, 0, 0.5)
    assert found["saliency", "faithfulness"] == (3, 0, 0, 0.5)
    assert found["lime", "complexity"][:3] == (1, 0, 0)
    assert np.isnan(found["lime", "complexity"][3])  # it is alone: undefined scores have no place
    assert set(found) == {("lime", "faithfulness"), ("saliency", "faithfulness"), ("lime", "complexity")}


def test_without_controls_there_is_nothing_to_tell():
    assert standings.standings(table(lime=0.9, saliency=0.2), pd.DataFrame(), pd.DataFrame()).empty
    assert standings.standings(table(higher=None, lime=0.9, sobel=0.2), pd.DataFrame(), pd.DataFrame()).empty


def test_the_page_is_sorted_by_faithfulness_and_tells_passes():
    scores = pd.concat([table(lime=0.1, saliency=0.2, sobel=0.5), table("c", kind="complexity", lime=0.3, saliency=0.1, sobel=0.2)])
    scores = pd.concat([scores, table("a", kind="axiomatic", lime=0.1)])
    compared = pd.concat([pairs(saliency_sobel=(0.1, 0.2, 0.01)), pairs("c", lime_sobel=(0.1, 0.2, 0.01))])
    costs = pd.DataFrame({"explainer": ["lime", "lime", "sobel"], "forward": [1000.0, 2000.0, 0.0], "backward": [1.0, 1.0, 0.0]})
    lines = standings.markdown(standings.standings(scores, compared, costs)).splitlines()
    assert [line for line in lines if line.startswith("| ")] == [
        "| explainer | family | passes | place | faithfulness | axiomatic | complexity |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| saliency | gradient |  | 0.00 | 1 (0) of 1 |  | 0 (0) of 1 |",
        "| lime | perturbation | 1,501 | 1.00 | 0 (0) of 1 |  | 1 (0) of 1 |",
    ]
