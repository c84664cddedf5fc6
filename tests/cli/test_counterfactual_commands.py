"""Counterfactuals from the command line: chosen by name, listed, skipped with the reason when a helper is not good enough, benchmarked."""

import json

import pandas as pd
import pytest
from cli_cases import isolated

from xaibench.cli.compose import composed
from xaibench.cli.main import main
from xaibench.cli.request import Request
from xaibench.configuration import conf_folder
from xaibench.planning import helpers

GATED = '''
from dataclasses import dataclass
from typing import ClassVar

from xaibench.autoencoders import AutoencoderModel, ConvAutoencoder
from xaibench.component import Fraction
from xaibench.counterfactuals.autoencoded import AutoencodedSearch
from xaibench.problem import Passes
from xaibench.searching import Proposals


@dataclass(frozen=True)
class Gated(AutoencodedSearch):
    """Proposes reconstructions."""

    differentiates: ClassVar = False

    autoencoder: AutoencoderModel = ConvAutoencoder(latent=4, width=2, epochs=1)
    least_agreement: Fraction = 1.0

    def most_passes(self, problem):
        return Passes(3)

    def search(self, problem, pairs, rng):
        none = pairs.targets * 0
        problem.classifier(pairs.images)
        return Proposals(problem.helpers["autoencoder"](pairs.images), none + 1, none)
'''
METRICS = "metric=counterfactual/validity,counterfactual/proximity"


def test_a_glob_picks_none_of_them_and_names_do():
    for group in ("explainer", "metric"):
        names = {f"counterfactual/{path.stem}" for path in (conf_folder() / group / "counterfactual").glob("*.yaml")}
        assert names
        assert names <= set(Request([]).options(group))
        everything = getattr(composed(Request(["-m", f"{group}=glob(*)"]))[0], f"{group}s")
        assert not {entry.name for entry in everything} & {name.partition("/")[2] for name in names}


@pytest.mark.parametrize(("word", "group"), [("explainers", "explainer"), ("metrics", "metric")])
def test_they_are_listed_under_the_names_they_are_chosen_by(word, group, capsys):
    assert main(["list", word]) == 0
    text = capsys.readouterr().out
    for path in (conf_folder() / group / "counterfactual").glob("*.yaml"):
        assert f" counterfactual/{path.stem} " in text
    assert "variant/" not in text


def test_a_helper_that_is_not_good_enough_skips_its_method_and_nothing_else(bench, out_of_tree):
    out_of_tree.add("explainer", "gated", "gated_search.Gated", GATED)
    given = (*out_of_tree.flags, "-m", "model=linear", "explainer=gated,counterfactual/nearest_training_image", METRICS)
    outcome = bench.run(*given, "explain_on.targets=others")
    assert outcome.status == 0, outcome.out + outcome.err
    assert "2 done, 0 cached, 2 skipped, 0 failed of 4 cells" in outcome.out
    assert "skipped 2 x the autoencoder is not good enough: " in outcome.out
    assert "failed 2 x" not in outcome.out
    records = [json.loads(path.read_text()) for path in bench.store.failures.folder.iterdir()]
    assert len(records) == 3
    assert all("not good enough" in record["message"] and not record["traceback"] for record in records)
    table = pd.read_csv(bench.results / "sweep" / "table.csv")
    assert set(table["explainer"]) == {"nearest_training_image"}
    assert set(table.loc[table["score"] == "value", "metric"]) == {"validity", "proximity"}


def test_a_lower_bar_lets_it_work_and_has_another_key(bench, out_of_tree):
    out_of_tree.add("explainer", "gated", "lower_bar.Gated", GATED)
    with (out_of_tree.conf / "explainer" / "gated.yaml").open("a") as file:
        file.write("autoencoder:\n  _target_: xaibench.autoencoders.ConvAutoencoder\n  latent: 4\n  width: 2\n  epochs: 1\n")
    given = (*out_of_tree.flags, "model=linear", "explainer=gated", METRICS, "explain_on.targets=second")
    first = bench.run(*given)
    assert first.status == 1  # nothing but skipped cells
    assert bench.made()["explain"] == 0
    trained = bench.made()["train"]
    assert trained == 2
    second = bench.run(*given, "explainer.least_agreement=0.0")
    assert second.status == 0, second.out + second.err
    assert "2 done, 0 cached, 0 skipped, 0 failed of 2 cells" in second.out
    assert bench.made()["train"] == trained
    again = bench.run(*given, "explainer.least_agreement=0.0")
    assert "0 done, 2 cached" in again.out
    changed = bench.run(*given, "explainer.least_agreement=0.0", "explainer.autoencoder.latent=5")
    assert changed.status == 0, changed.out + changed.err
    assert bench.made()["train"] == trained + 1
    assert bench.made()["explain"] == 2


def test_attributions_and_counterfactuals_share_a_sweep_and_skip_each_others_metrics(bench):
    outcome = bench.run(
        *("-m", "model=linear", "explainer=gradient,counterfactual/nearest_training_image"),
        *("metric=counterfactual/validity,sparseness", "explain_on.targets=second", "figures=[maps]"),
    )
    assert outcome.status == 0, outcome.out + outcome.err
    assert "2 done, 0 cached, 2 skipped, 0 failed of 4 cells" in outcome.out
    assert "scores attributions, and the explainer gives counterfactuals" in " ".join(outcome.out.split())
    assert (bench.results / "sweep" / "maps.png").exists()


def test_plan_tells_the_networks_that_are_needed_besides_and_what_is_an_upper_bound(bench):
    given = ("-m", "model=linear", "explainer=gradient,counterfactual/reinforcement", "explain_on.targets=second")
    metrics = "metric=sparseness,counterfactual/validity,counterfactual/oracle_agreement"
    needed = helpers(bench.plan(*given, metrics)).values()  # the actor needs an autoencoder in its turn
    assert sorted(type(training.model).__name__ for training in needed) == ["Actor", "ConvAutoencoder", "Linear"]
    rows = {
        line[0]: line[1:] for line in (text.replace("│", " ").split() for text in bench("plan", *given, metrics).out.splitlines()) if line
    }
    assert rows["helpers"] == ["0", "3"]
    assert rows["explain"][3:5] == ["at", "most"]
    alone = bench("plan", "model=linear", "explainer=gradient", "metric=sparseness").out
    assert "helpers" not in alone
    assert "at most" not in alone


def run_bench(tmp_path, *arguments: str) -> pd.DataFrame:
    small = ("--dataset", "digits", "--model", "linear", "--images", "6", "--repeats", "1", "--threads", "1", "trainer.epochs=1")
    with isolated():
        status = main(["bench", *arguments, *small, "--out", str(tmp_path / "out"), f"runtime.store={tmp_path / 'store'}"])
    assert status == 0
    return pd.read_csv(tmp_path / "out" / f"{arguments[0]}.csv")


def test_explainers_are_benchmarked_by_the_passes_that_they_take(tmp_path):
    name = "counterfactual/nearest_training_image"
    given = ("--explainers", name, "--targets", "second", f"{name}.most_candidates=1")
    (row,) = run_bench(tmp_path, "explainers", *given).to_dict("records")
    assert row["explainer"] == f"{name}[most_candidates=1]"
    assert (row["forward"], row["backward"]) == (3, 0)  # one that predicts, one candidate, one that decides
    assert row["ratio"] > 0


def test_metrics_are_benchmarked_on_counterfactuals(tmp_path):
    given = ("--explainer", "counterfactual/nearest_training_image", "--targets", "second")
    found = run_bench(tmp_path, "metrics", *given, "--metrics", "counterfactual/validity,sparseness").set_index("metric")
    assert found.loc["counterfactual/validity", "images_per_second"] > 0
    assert found.loc["sparseness", "skipped"] == "scores attributions, and the explainer gives counterfactuals"


def test_an_unknown_name_is_told_before_anything_is_trained(tmp_path, capsys):
    with isolated():
        assert main(["bench", "explainers", "--explainers", "counterfactual/wachtr", "--out", str(tmp_path)]) == 2
    assert "counterfactual/" in capsys.readouterr().err
