"""Explainers beside the best control, counted over metrics and classifiers."""

import numpy as np
import pandas as pd

from xaibench.stats import standings
from xaibench.stats.paired import CLASSIFIER

PLACE = {"dataset": "d", "model": "m", "trainer": "t"}
FAMILIES = {"lime": "perturbation", "saliency": "gradient", "sobel": "control", "random": "control"}


def table(metric="q", higher=True, kind="faithfulness", model="m", **means):
    rows = [{"explainer": name, "mean": mean, "images": 9, "planned": 9, "family": FAMILIES[name]} for name, mean in means.items()]
    facts = PLACE | {"model": model, "metric": metric, "metric_family": kind, "score": "value"}
    return pd.DataFrame(rows).assign(**facts, higher_is_better=pd.Series([higher] * len(rows), dtype=object))


def pairs(metric="q", model="m", **found):
    """By the pair's names: how much better the first is; not significantly where it is None."""
    rows = [dict(zip(("first", "second"), names.split("_"), strict=True)) for names in found]
    numbers = [{"difference": difference or 0.1, "differs": difference is not None} for difference in found.values()]
    known = PLACE | {"model": model, "metric": metric}
    return pd.DataFrame([pair | one | known for pair, one in zip(rows, numbers, strict=True)])


def test_a_pair_is_found_in_either_order_and_turned_with_it():
    found = standings.tests(
        pairs(lime_random=0.2, lime_saliency=0.1, random_saliency=-0.1, lime_sobel=None), ["random", "sobel"], CLASSIFIER
    )
    turned = {("lime", "random"): True, ("random", "lime"): False, ("random", "saliency"): False, ("saliency", "random"): True}
    assert found == {("d", "m", "t", "q"): turned}
    assert standings.tests(pd.DataFrame(), ["random"], CLASSIFIER) == {}


def counts(found, model="m"):
    found = found[found["model"] == model]
    columns = ["explainer", "metric_family", "compared", "better", "worse", "place"]
    return {row[:2]: row[2:] for row in found[columns].itertuples(index=False, name=None)}


def test_the_control_with_the_best_mean_counts():
    scores = table(lime=0.9, saliency=0.2, sobel=0.5, random=0.1)
    compared = pairs(lime_sobel=0.3, sobel_saliency=0.3, saliency_random=0.1)
    assert counts(standings.standings(scores, compared, pd.DataFrame())) == {
        ("lime", "faithfulness"): (1, 1, 0, 0.0),
        ("saliency", "faithfulness"): (1, 0, 1, 1.0),
    }
    # Where lower is better Sobel's is the worst control, and saliency's the better of the two explainers.
    turned = counts(standings.standings(scores.assign(higher_is_better=False), compared, pd.DataFrame()))
    assert turned == {("lime", "faithfulness"): (1, 0, 0, 1.0), ("saliency", "faithfulness"): (1, 1, 0, 0.0)}


def test_metrics_are_summed_by_network_and_family():
    scores = pd.concat(
        [
            table(lime=0.9, saliency=0.2, random=0.1),
            table(model="n", lime=0.2, saliency=0.9, random=0.1),
            table("w", lime=0.3, saliency=0.3, random=0.1),
            table("c", kind="complexity", lime=0.3, saliency=float("nan"), random=0.4),
            table("free", higher=None, lime=1.0, saliency=2.0, random=3.0),
        ]
    )
    compared = pd.concat([pairs(lime_random=0.2), pairs(model="n", lime_random=0.2)])
    table_of = standings.standings(scores, compared, pd.DataFrame())
    found = counts(table_of)
    assert found["lime", "faithfulness"] == (2, 1, 0, 0.25)
    assert found["saliency", "faithfulness"] == (2, 0, 0, 0.75)
    assert counts(table_of, "n") == {("lime", "faithfulness"): (1, 1, 0, 1.0), ("saliency", "faithfulness"): (1, 0, 0, 0.0)}
    assert found["lime", "complexity"][:3] == (1, 0, 0)
    assert np.isnan(found["lime", "complexity"][3])  # it is alone: undefined scores have no place
    assert set(found) == {("lime", "faithfulness"), ("saliency", "faithfulness"), ("lime", "complexity")}


def test_without_controls_there_is_nothing_to_tell():
    assert standings.standings(table(lime=0.9, saliency=0.2), pd.DataFrame(), pd.DataFrame()).empty
    assert standings.standings(table(higher=None, lime=0.9, sobel=0.2), pd.DataFrame(), pd.DataFrame()).empty


def test_the_page_is_sorted_by_faithfulness_and_tells_passes():
    scores = pd.concat([table(lime=0.1, saliency=0.2, sobel=0.5), table("c", kind="complexity", lime=0.3, saliency=0.1, sobel=0.2)])
    scores = pd.concat([scores, table("a", kind="axiomatic", lime=0.1)])
    compared = pd.concat([pairs(saliency_sobel=0.1), pairs("c", lime_sobel=0.1)])
    costs = pd.DataFrame({"explainer": ["lime", "lime", "sobel"], "forward": [1000.0, 2000.0, 0.0], "backward": [1.0, 1.0, 0.0]})
    lines = standings.markdown(standings.standings(scores, compared, costs)).splitlines()
    assert [line for line in lines if line.startswith("| ")] == [
        "| explainer | family | passes | place | faithfulness | axiomatic | complexity |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| saliency | gradient |  | 0.00 | 1 (0) of 1 |  | 0 (0) of 1 |",
        "| lime | perturbation | 1,501 | 1.00 | 0 (0) of 1 |  | 1 (0) of 1 |",
    ]


def test_networks_stand_apart_and_those_that_most_explainers_run_on_decide_the_order():
    easy = table(model="easy", lime=0.9, random=0.1), pairs(model="easy", lime_random=0.2)
    hard = table(model="hard", lime=0.2, saliency=0.3, random=0.1), pairs(model="hard", saliency_random=0.2, random_lime=0.1)
    found = standings.standings(*map(pd.concat, zip(easy, hard, strict=True)), pd.DataFrame())
    heads, rows = standings.sheet(found)
    assert heads == ["explainer", "family", "passes", "place", "faithfulness, easy", "faithfulness, hard"]
    assert [[text for text, _ in row] for row in rows] == [
        ["saliency", "gradient", "", "0.00", "", "1 (0) of 1"],
        ["lime", "perturbation", "", "1.00", "1 (0) of 1", "0 (1) of 1"],
    ]


def test_a_mean_over_the_few_images_that_are_defined_does_not_make_the_best_control():
    scores = table(lime=0.3, sobel=0.9, random=0.1)
    scores.loc[scores["explainer"] == "sobel", "planned"] = 19
    found = counts(standings.standings(scores, pairs(lime_random=0.2, sobel_lime=0.6), pd.DataFrame()))
    assert found["lime", "faithfulness"][:3] == (1, 1, 0)
