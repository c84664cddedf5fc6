"""`xaibench plan` with hours and storage."""

import re

import pytest
from cli_cases import Bench

from xaibench.cli.plan import parsed

GIVEN = ("-m", "model=linear", "explainer=gradient,integrated_gradients", "metric=deletion,sparseness")


def table(text: str) -> dict[str, list[str]]:
    """The cells of the last table, by stage."""
    lines = [[part.strip() for part in line.strip("│").split("│")] for line in text.partition("hours at")[2].splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) > 1}


def test_hours_and_storage_at_stated_rates(bench: Bench):
    outcome = bench("plan", *GIVEN, "--rates", "3600,1200")
    assert outcome.status == 0
    found = table(outcome.out)
    assert list(found) == ["train", "helpers", "predict", "explain", "evaluate", "all"]
    # 20 images: gradient 1 and 1, integrated gradients with 50 steps 51 and 50, and one for the baseline; a way back takes 2 s
    assert found["explain"][:4] == ["2", "1,041", "1,020", f"{(1041 + 2 * 1020) / 3600 / 3600:.2f}"]
    assert found["evaluate"][:3] == ["4", "1,160", "0"]
    assert "all classifiers: 3,600.0 images/s forward, 1,200.0 forward and back, as stated" in outcome.out
    assert "hours" not in bench("plan", *GIVEN).out
    assert bench("plan", *GIVEN, "--rates", "3600,1200", "--rates", "10,5").out.count("as stated") == 2


def test_what_does_not_fit_is_skipped_in_the_plan_and_counted_once_each(bench: Bench):
    given = ("model=linear", "explainer=gradient,counterfactual/wachter", "metric=deletion,counterfactual/validity")
    assert bench.counts("-m", *given)["evaluate"] == (0, 2, 2)
    reasons = {item.reason for item in bench.plan("-m", *given) if item.status == "skipped"}
    told = "scores {}, and the explainer gives {}"
    assert reasons == {told.format(*pair) for pair in (("attributions", "counterfactuals"), ("counterfactuals", "attributions"))}


def test_measured_throughput_is_told(bench: Bench, monkeypatch):
    monkeypatch.setattr("xaibench.estimates.LEAST_SECONDS", 0.01)
    outcome = bench("plan", *GIVEN, "--measure")
    assert outcome.status == 0
    assert re.search(r"Linear on Digits: [\d,.]+ images/s forward, [\d,.]+ forward and back, on cpu, 1 threads", outcome.out)


def test_a_grid_of_declared_data_is_planned_without_any(bench: Bench):
    large = ("dataset=large/declared", "dataset.test_images=700", "model=large/resnet50", "model.width=2", "model.blocks=[1,1,1,1]")
    outcome = bench("plan", *large, "explainer=gradient", "metric=deletion", "explain_on.count=null", "--rates", "100,20")
    assert outcome.status == 0
    found = table(outcome.out)
    assert found["explain"][1] == "700"
    assert found["explain"][-1] == "421 MB"  # 700 x 3 x 224 x 224 x 4
    outcome = bench("run", *large, "explainer=gradient", "metric=deletion")
    assert outcome.status == 2
    assert "its sizes alone can only be planned with" in outcome.err


def test_networks_that_are_no_classifiers_are_taken_to_be_as_fast(bench: Bench):
    outcome = bench("plan", "model=linear", "explainer=counterfactual/wachter", "metric=counterfactual/im1", "--rates", "3600,1200")
    assert outcome.status == 0, outcome.err
    assert "helpers" in outcome.out


@pytest.mark.parametrize("rates", ["5", "5,10", "5,0", "a,b", "9,8,7"])
def test_rates_that_cannot_be_are_refused(rates, capsys):
    with pytest.raises(SystemExit):
        parsed([*GIVEN, "--rates", rates])
    assert f"{rates}: expected two numbers > 0, F,B: images/s forward" in capsys.readouterr().err
