"""A budget: what takes more passes gets fewer images, or is skipped, and the scores of those images are what they were."""

import numpy as np
import pandas as pd
import pytest

from xaibench.budget import Budget, affords
from xaibench.selection import ExplainOn

GIVEN = ("-m", "model=linear", "seed=0,1", "explainer=gradient,integrated_gradients", "explain_on.count=20", "explain_on.targets=[0,3]")
METRICS = "metric=[deletion,max_sensitivity,sparseness,infidelity]"
# for an image, with two targets: gradient takes 3 passes, integrated gradients with 50 steps takes 151
SCORING = ("+budget.scoring=110", "+budget.images=5")


def states(items):
    return {
        (item.cell.explainer.name, item.cell.metric.name): (item.status, item.cell.explain_on.component.count, item.cell.score_on)
        for item in items
    }


def long(bench, study):
    return pd.read_parquet(bench.results / study / "scores.parquet").astype({"explainer": str, "metric": str, "score": str})


@pytest.fixture
def limited(bench):
    assert bench.run(*GIVEN, METRICS, *SCORING, "study=limited").status == 0
    return bench


def test_what_takes_more_is_scored_on_fewer_images_or_not(bench):
    few = ExplainOn(count=5, targets=(0, 3), background=10)
    assert states(bench.plan(*GIVEN, METRICS, *SCORING)) == {
        ("gradient", "deletion"): ("to do", 20, None),
        ("gradient", "max_sensitivity"): ("to do", 20, None),
        ("gradient", "sparseness"): ("to do", 20, None),
        ("gradient", "infidelity"): ("skipped", 20, None),
        ("integrated_gradients", "deletion"): ("to do", 20, None),
        ("integrated_gradients", "max_sensitivity"): ("skipped", 20, None),
        ("integrated_gradients", "sparseness"): ("to do", 20, None),
        ("integrated_gradients", "infidelity"): ("skipped", 20, None),
    }
    more = states(bench.plan(*GIVEN, METRICS, "+budget.scoring=400", "+budget.images=5"))
    assert more["integrated_gradients", "max_sensitivity"] == ("to do", 20, few)
    assert more["gradient", "infidelity"] == ("to do", 20, few)
    assert more["gradient", "deletion"] == ("to do", 20, None)


def test_the_plan_says_what_is_skipped_and_counts_the_passes_of_the_images_that_are_scored(bench):
    outcome = bench("plan", *GIVEN, METRICS, *SCORING)
    reason = "scoring takes too long even on 5 images: more than budget.scoring=110 passes for each of 20"
    whose = "infidelity of gradient, integrated_gradients; max_sensitivity of integrated_gradients"
    assert f"skipped 6: {whose}: {reason}" in " ".join(outcome.out.split())
    one, few = (
        {item.cell.metric.name: item.scoring.forward for item in bench.plan("explainer=gradient", METRICS, "explain_on.count=20", *budget)}
        for budget in ((), ("+budget.scoring=400", "+budget.images=5"))
    )
    assert few["infidelity"] * 4 == one["infidelity"] > 0
    assert few["deletion"] == one["deletion"]


def test_scores_are_those_of_the_same_images_without_a_budget(bench):
    budget = ("+budget.scoring=400", "+budget.images=5")
    assert bench.run(*GIVEN, METRICS, *budget, "study=limited").status == 0
    assert bench.made()["explain"] == 4  # two explainers, two seeds: each explained once
    assert bench.run(*GIVEN, METRICS, "study=whole").status == 0
    assert bench.made()["explain"] == 4
    limited, whole = long(bench, "limited"), long(bench, "whole")
    names = ["dataset", "explainer", "metric", "score", "seed", "index", "target"]
    both = limited.merge(whole, on=names, suffixes=("", "_whole"))
    assert len(both) == len(limited) < len(whole)
    np.testing.assert_allclose(both["value"], both["value_whole"], rtol=1e-4, atol=1e-6)
    assert (both["flag"] == both["flag_whole"]).all()
    sizes = limited.groupby(["explainer", "metric"])["index"].nunique()
    assert sizes["gradient", "infidelity"] == sizes["integrated_gradients", "max_sensitivity"] == 5
    assert sizes["gradient", "deletion"] == sizes["gradient", "max_sensitivity"] == 20
    table = pd.read_csv(bench.results / "limited" / "table.csv")
    notes = table[table["score"] == "value"].set_index(["explainer", "metric"])["note"]
    assert notes["integrated_gradients", "max_sensitivity"] == "two seeds; 5 of 20 images"
    assert notes["gradient", "max_sensitivity"] == "two seeds"


def test_a_budget_without_fields_has_its_defaults(bench):
    given = ("explainer=integrated_gradients", "metric=[deletion,infidelity]", "explain_on.count=60", "explainer.steps=10500")
    (item, _) = bench.plan(*given, "budget={}")
    assert (item.status, item.cell.explain_on.component.count) == ("to do", 50)
    assert bench.plan(*given)[0].cell.explain_on.component.count == 60


def test_a_second_run_finds_everything(limited):
    outcome = limited.run(*GIVEN, METRICS, *SCORING, "study=limited")
    assert "0 done, 10 cached, 6 skipped" in outcome.out


def test_without_its_budget_only_what_was_limited_is_computed_again(limited):
    outcome = limited.run(*GIVEN, METRICS, "study=limited")
    assert "6 done, 10 cached, 0 skipped" in outcome.out


def test_an_explainer_that_takes_more_explains_fewer_images(bench):
    given = (*GIVEN, "metric=[sparseness,deletion]", "+budget.explaining=40", "+budget.images=5", "study=explained")
    assert states(bench.plan(*given))["integrated_gradients", "deletion"][1:] == (5, None)
    assert bench.run(*given).status == 0
    scores = long(bench, "explained")
    assert set(scores["dataset"]) == {"digits"}
    assert scores.groupby("explainer")["index"].nunique().to_dict() == {"gradient": 20, "integrated_gradients": 5}
    assert set(scores[scores["explainer"] != "gradient"]["index"]) < set(scores["index"])
    skipped = bench.plan(*GIVEN, "metric=sparseness", "+budget.explaining=30", "+budget.images=5")
    assert {item.cell.explainer.name for item in skipped if item.status == "skipped"} == {"integrated_gradients"}


EMPTY = '''
from dataclasses import dataclass, replace

from xaibench.explainers.gradient import Gradient


@dataclass(frozen=True)
class Empty(Gradient):
    """Says nothing of every other image of the test set."""

    def __call__(self, problem, rng):
        found = super().__call__(problem, rng)
        return replace(found, values=found.values * (problem.index % 2)[:, None, None, None, None])
'''


def test_what_is_wrong_with_a_map_stays_with_its_image(bench, out_of_tree):
    out_of_tree.add("explainer", "empty", "empty_explainer.Empty", EMPTY)
    given = (*out_of_tree.flags, "model=linear", "explainer=empty", "metric=infidelity", "+budget.scoring=400", "+budget.images=5")
    assert bench.run(*given).status == 0
    scores = long(bench, "sweep")
    assert scores["index"].nunique() == 5
    assert set(scores["index"] % 2) == {0, 1}
    assert (scores["flag"] == np.where(scores["index"] % 2, "", "all zero")).all()


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        (ExplainOn(indices=(9, 3, 5)), ExplainOn(indices=(3, 5))),
        (ExplainOn(count=None), ExplainOn(count=2)),
        (ExplainOn(count=1, per_class=3), ExplainOn(count=1, per_class=3)),
    ],
)
def test_the_first_images_of_any_choice(on, expected):
    assert Budget(images=2).reduced(on) == expected


def test_what_is_afforded_depends_on_the_passes_of_one_image():
    assert Budget().most == (20_000, 20_000)
    assert [affords(passes, 50, 500, 100) for passes in (0, 5_000, 5_001, 50_000, 50_001)] == [500, 500, 50, 50, 0]
    assert [affords(passes, 50, 50, 100) for passes in (5_000, 5_001)] == [50, 0]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("budget=3",), "budget=3: expected null, or fields"),
        (("+budget.scores=3",), "scores"),
        (("+budget.scoring=0",), "scoring=0"),
        (("-m", "explain_on.count=20,30", "+budget.scoring=10"), "explain_on: expected one choice of images where there is a budget"),
    ],
)
def test_a_wrong_budget_is_told(bench, given, told):
    outcome = bench.run("explainer=gradient", "metric=deletion", *given)
    assert outcome.status == 2
    assert told in outcome.err
